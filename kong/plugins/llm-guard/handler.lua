--- Shuts the door that Kong leaves open when an external plugin throws, hangs or is gone.

local complain = require "kong.plugins.llm-edge.complain"
local refuse = require "kong.plugins.llm-edge.refuse"

local LlmGuard = { PRIORITY = 904, VERSION = "0.1.0" }

--- Id of the config that Kong runs this plugin with for this request: its phases after access are queued by now.
local function configured_id(name)
  local queue = ngx.ctx.plugins.log
  for i = 2, queue[0], 2 do
    if queue[i - 1].name == name then
      return queue[i].__plugin_id
    end
  end
end

--- Returns what is wrong; nil when every required plugin left its own mark.
local function missing(conf)
  for _, name in ipairs(conf.require) do
    local id = configured_id(name)
    if not id then
      return name .. " is not configured for this request"
    end
    local entry = kong.ctx.shared["portcullis_" .. name:gsub("-", "_")]
    local mark = type(entry) == "table" and entry.mark
    if not mark then
      return name .. " did not decide on this request"
    end
    if mark.plugin ~= name or mark.plugin_id ~= id then
      entry.reply_headers, entry.tap = nil, nil
      return name .. " decided by another config than this request's"
    end
  end
end

function LlmGuard.access(_, conf)
  local ok, fault = pcall(missing, conf)
  if not ok or fault then
    complain("llm-guard", fault)
    return refuse("llm-guard", "policy_unavailable", "The gateway could not decide on this request.")
  end
end

return LlmGuard
