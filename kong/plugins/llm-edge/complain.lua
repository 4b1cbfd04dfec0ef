--- A line about the request under way, with nothing of it but Kong's own id.

local say = require "kong.plugins.llm-edge.say"

return function(plugin, what, fault)
  say(("%s%s, request_id: %s"):format(
    tostring(what), fault == nil and "" or tostring(fault), tostring(ngx.var.kong_request_id)), plugin)
end
