--- Refusals of the Lua companions, in the error shape of the API that is being called.

local cjson = require "cjson.safe"

--- Status, OpenAI's error type, Anthropic's and Google's.
local CODES = {
  invalid_key = { 401, "authentication_error", "authentication_error", "UNAUTHENTICATED" },
  unmetered_operation = { 400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT" },
  request_too_large = { 413, "invalid_request_error", "request_too_large", "INVALID_ARGUMENT" },
  headers_too_large = { 431, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT" },
  policy_unavailable = { 503, "server_error", "api_error", "UNAVAILABLE" },
}

local function error_body(code, message, request_id)
  local status, openai, anthropic, google = unpack(CODES[code])
  local var = ngx.var
  if var.http_anthropic_version or var.uri:find("/v1/messages", 1, true) then
    local details = { error_code = code }
    return { type = "error", error = { type = anthropic, message = message, details = details }, request_id = request_id }
  end
  if var.http_x_goog_api_key or var.uri:find("/models/[^/]+:%a+$") then
    return { error = { code = status, message = message, status = google, details = {
      { ["@type"] = "type.googleapis.com/google.rpc.ErrorInfo", reason = code:upper(), domain = "portcullis",
        metadata = { code = code } },
      { ["@type"] = "type.googleapis.com/google.rpc.RequestInfo", requestId = request_id },
    } } }
  end
  return { error = { message = message, type = openai, param = cjson.null, code = code }, request_id = request_id }
end

--- Ends the request: no later plugin runs, the upstream is not contacted. Whoever watches learns which plugin did it.
return function(plugin, code, message)
  local request_id = ngx.var.kong_request_id
  local undecided = code == "policy_unavailable" or nil
  kong.ctx.shared.portcullis_refusal = { version = 1, plugin = plugin, code = code, undecided = undecided }
  return kong.response.exit(CODES[code][1], cjson.encode(error_body(code, message, request_id)), {
    ["content-type"] = "application/json",
    ["cache-control"] = "no-store",
    ["x-request-id"] = request_id,
  })
end
