--- Moves an API key from wherever the official SDKs put it to the header that key-auth reads.

local complain = require "kong.plugins.llm-edge.complain"
local refuse = require "kong.plugins.llm-edge.refuse"

local SOURCES = { "x-api-key", "api-key", "x-goog-api-key" }
local MAX_KEY = 1024

--- A token for somebody else to verify: signed (three parts) or encrypted (five). Its header is an object, thus `ey`.
local function is_jwt(value)
  return value:find("^ey[%w_-]+%.[%w_-]*%.[%w_-]*$") or value:find("^ey[%w_-]+%.[%w_-]*%.[%w_-]+%.[%w_-]+%.[%w_-]+$")
end

--- Calls `use` with every non-empty value of a header or query argument.
local function each(values, use)
  for _, value in ipairs(type(values) == "table" and values or { values }) do
    if type(value) == "string" and value ~= "" then
      use(value)
    end
  end
end

local function move_key(conf)
  local headers, cut = ngx.req.get_headers()
  if cut then
    return "headers_too_large", "The request has more headers than the gateway shows."
  end
  local found, other, moved = nil, false, {}
  local function use(value)
    other = other or (found ~= nil and found ~= value)
    found = value
  end

  each(headers["authorization"], function(value)
    local token = value:match("^%s*[Bb][Ee][Aa][Rr][Ee][Rr]%s+(.-)%s*$")
    if token and token ~= "" and not is_jwt(token) then
      moved[1] = "authorization"
      use(token)
    end
  end)
  for _, name in ipairs(SOURCES) do
    each(headers[name], use)
    moved[#moved + 1] = headers[name] and name
  end
  each(headers[conf.key_name], use)
  local query = ngx.var.args and ngx.req.get_uri_args(0).key
  if query and conf.key_in_query == false then
    return "invalid_key", "Send the API key in a header: an address is written to many logs."
  end
  each(query, use)

  if other then
    return "invalid_key", "The request carries two different API keys."
  end
  if found and (#found > MAX_KEY or found:find("[^\33-\126]")) then
    return "invalid_key", "The API key is malformed."
  end
  local request = kong.service.request
  for _, name in ipairs(moved) do
    request.clear_header(name)
  end
  if query then
    request.clear_query_arg("key")
  end
  if found then
    request.set_header(conf.key_name, found)
  end
end

local LlmKey = { PRIORITY = 1260, VERSION = "0.1.0" }

function LlmKey.access(_, conf)
  local ok, code, message = pcall(move_key, conf)
  if not ok then
    complain("llm-key", "could not look for the key: ", code)
    code, message = "policy_unavailable", "The gateway could not read the request's credentials."
  end
  if code then
    return refuse("llm-key", code, message)
  end
end

return LlmKey
