--- Refusals of the Lua companions, in the error shape of the API that is being called.

local cjson = require "cjson.safe"

local CODES = {
  invalid_key = { 401, "authentication_error", "UNAUTHENTICATED" },
  unmetered_operation = { 400, "invalid_request_error", "INVALID_ARGUMENT" },
  request_too_large = { 413, "request_too_large", "INVALID_ARGUMENT" },
  headers_too_large = { 431, "invalid_request_error", "INVALID_ARGUMENT" },
  policy_unavailable = { 503, "api_error", "UNAVAILABLE" },
}

local function error_body(status, kinds, code, message, request_id)
  if ngx.var.http_anthropic_version then
    return { type = "error", error = { type = kinds[2], message = message, code = code }, request_id = request_id }
  end
  if ngx.var.uri:find(":%a*[gG]enerateContent$") or ngx.var.http_x_goog_api_key then
    local detail = { ["@type"] = "type.googleapis.com/google.rpc.ErrorInfo", reason = code, domain = "portcullis" }
    return { error = { code = status, message = message, status = kinds[3], details = { detail } } }
  end
  local kind = status >= 500 and "server_error" or "invalid_request_error"
  return { error = { message = message, type = kind, param = cjson.null, code = code } }
end

--- Ends the request: no later plugin runs, the upstream is not contacted.
return function(code, message)
  local kinds = CODES[code]
  local request_id = ngx.var.kong_request_id
  local body = cjson.encode(error_body(kinds[1], kinds, code, message, request_id))
  return kong.response.exit(kinds[1], body, {
    ["content-type"] = "application/json",
    ["cache-control"] = "no-store",
    ["x-request-id"] = request_id,
  })
end
