--- Writes to Kong's error log from a timer: within a request nginx adds the request line, whose query may hold a key.

local function write(_, text)
  ngx.log(ngx.ERR, text)
end

--- Without a timer to be had nothing is written: nginx itself complains of that then.
return function(plugin, what, fault)
  local text = ("[%s] %s%s, request_id: %s"):format(
    plugin, tostring(what), fault == nil and "" or tostring(fault), tostring(ngx.var.kong_request_id))
  local timer_at = _G.native_timer_at or ngx.timer.at
  timer_at(0, write, text)
end
