--- Writes a line to the error log of Kong itself. What is logged within a request, or in a timer that a request started,
-- goes to the log of requests: nginx puts the request line into it, whose query may hold a key, and kong.env switches it off.

require "ngx.errlog" -- declares the function
local raw_log = require("ffi").C.ngx_http_lua_ffi_raw_log

return function(text, plugin)
  local line = ("[%s] %s"):format(plugin or "llm-edge", text)
  raw_log(nil, ngx.ERR, line, #line)
end
