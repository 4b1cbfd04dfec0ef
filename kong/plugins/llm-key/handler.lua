--- Moves an API key from wherever the official SDKs put it to the header that key-auth reads.

local clear_header = require "kong.plugins.llm-edge.clear-header"
local complain = require "kong.plugins.llm-edge.complain"
local refuse = require "kong.plugins.llm-edge.refuse"

local SOURCES = { "x-api-key", "api-key", "x-goog-api-key" }
local MAX_KEY = 1024

--- A token for somebody else to verify: signed (three parts) or encrypted (five). Its header is an object, thus `ey`.
local function is_jwt(value)
  return value:sub(1, 2) == "ey"
    and (value:find("^ey[%w_-]+%.[%w_-]*%.[%w_-]*$") or value:find("^ey[%w_-]+%.[%w_-]*%.[%w_-]+%.[%w_-]+%.[%w_-]+$"))
end

--- The key in a value of the header `authorization`; nil for any other credential.
local function bearer_key(value)
  local token = value:match("^%s*[Bb][Ee][Aa][Rr][Ee][Rr]%s+(.-)%s*$")
  return token and token ~= "" and not is_jwt(token) and token or nil
end

--- Looks at every non-empty value of a header or query argument. Returns the key, and whether there are two different ones.
local function gather(values, read, found, other)
  if type(values) == "table" then
    for _, value in ipairs(values) do
      found, other = gather(value, read, found, other)
    end
  elseif type(values) == "string" and values ~= "" then
    local key = values
    if read then
      key = read(values)
    end
    other = other or (found ~= nil and key ~= nil and found ~= key)
    found = key or found
  end
  return found, other
end

local function move_key(conf)
  local headers, cut = ngx.req.get_headers()
  if cut then
    return "headers_too_large", "The request has more headers than the gateway shows."
  end
  local found, other = gather(headers["authorization"], bearer_key)
  local in_authorization = found ~= nil
  for i = 1, #SOURCES do
    found, other = gather(headers[SOURCES[i]], nil, found, other)
  end
  found, other = gather(headers[conf.key_name], nil, found, other)
  local query = ngx.var.args and ngx.req.get_uri_args(0).key
  if query and conf.key_in_query == false then
    return "invalid_key", "Send the API key in a header: an address is written to many logs."
  end
  found, other = gather(query, nil, found, other)

  if other then
    return "invalid_key", "The request carries two different API keys."
  end
  if found and (#found > MAX_KEY or found:find("[^\33-\126]")) then
    return "invalid_key", "The API key is malformed."
  end
  local request = kong.service.request
  if in_authorization then
    request.clear_header("authorization")
  end
  for i = 1, #SOURCES do
    clear_header(SOURCES[i])
  end
  if query then
    request.clear_query_arg("key")
  end
  clear_header(conf.key_name)
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
