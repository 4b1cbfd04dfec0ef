--- A test runner of one function: runs each case, prints one line for it, and exits 1 if any failed.

local _M = {}
local failed = 0

function _M.equal(actual, expected, what)
  if actual ~= expected then
    error(("%s: expected %s, got %s"):format(what or "value", tostring(expected), tostring(actual)), 2)
  end
end

function _M.case(name, run)
  local ok, err = xpcall(run, debug.traceback)
  failed = failed + (ok and 0 or 1)
  print((ok and "ok   " or "FAIL ") .. name .. (ok and "" or "\n" .. err))
end

function _M.done()
  os.exit(failed == 0 and 0 or 1)
end

return _M
