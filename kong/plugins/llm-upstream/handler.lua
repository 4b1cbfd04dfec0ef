--- Sends the provider's credential, and none of the caller's. Kong's request-transformer resolves no vault references.

local clear_header = require "kong.plugins.llm-edge.clear-header"
local complain = require "kong.plugins.llm-edge.complain"
local refuse = require "kong.plugins.llm-edge.refuse"

local CREDENTIALS = { "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "apikey" }
local IDENTITY = {
  "x-consumer-id", "x-consumer-username", "x-consumer-custom-id", "x-consumer-groups", "x-credential-identifier",
  "x-anonymous-consumer", "x-authenticated-groups", "x-authenticated-scope", "x-authenticated-userid",
}

local function send_as_provider(conf)
  local request, own = kong.service.request, {}
  for name, value in pairs(conf.headers) do
    -- What a vault does not know arrives empty.
    if type(value) ~= "string" or value == "" or value:find("^{vault://") then
      error("no value for the header " .. name)
    end
    own[name:lower():gsub("_", "-")] = true
    clear_header(name)
    request.set_header(name, value)
  end
  for _, names in ipairs({ CREDENTIALS, conf.name_consumer and {} or IDENTITY }) do
    for _, name in ipairs(names) do
      if not own[name] then
        clear_header(name)
      end
    end
  end
  if ngx.var.args then
    request.clear_query_arg("key")
  end
end

--- Behind llm-guard (904): the provider's key is only ever on a request that every policy decided on.
local LlmUpstream = { PRIORITY = 903, VERSION = "0.1.0" }

function LlmUpstream.access(_, conf)
  local ok, fault = pcall(send_as_provider, conf)
  if not ok then
    complain("llm-upstream", "the provider's credential is missing: ", fault)
    return refuse("llm-upstream", "policy_unavailable", "The gateway has no credential for the upstream.")
  end
end

return LlmUpstream
