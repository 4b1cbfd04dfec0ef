--- llm-upstream: the provider's credential goes out, and nothing of the caller's.

local check = require "check"
local request = require "kong"
request({})
local llm_upstream = require "kong.plugins.llm-upstream.handler"

local function run(fields, conf)
  local seen = request(fields)
  llm_upstream:access(conf)
  return seen
end

local CALLER = { authorization = "Bearer caller", ["x-api-key"] = "caller", ["api-key"] = "caller",
  ["x-goog-api-key"] = "caller", apikey = "caller", ["x-consumer-username"] = "alice", accept = "*/*" }

local function headers()
  local copy = {}
  for name, value in pairs(CALLER) do
    copy[name] = value
  end
  return copy
end

check.case("sends the provider's credential, and removes every other one", function()
  local seen = run({ headers = headers() }, { headers = { ["X-Api-Key"] = "provider" } })
  check.equal(seen.exit, nil)
  check.equal(seen.headers["x-api-key"], "provider")
  check.equal(seen.headers.accept, "*/*")
  for name, value in pairs(CALLER) do
    check.equal(name == "accept" or seen.headers[name] ~= value, true, name)
  end
end)

check.case("takes underscores for dashes in what it removes", function()
  local spellings = { x_api_key = "caller", ["x_goog-api_key"] = "caller", ["x-consumer_username"] = "eve", x_other = "1" }
  local seen = run({ headers = spellings }, { headers = { ["X-Api-Key"] = "provider" } })
  local left = {}
  for name, value in pairs(seen.headers) do
    left[#left + 1] = name .. "=" .. value
  end
  table.sort(left)
  check.equal(table.concat(left, " "), "x-api-key=provider x_other=1")
end)

check.case("sends what the configuration itself spells with underscores", function()
  local seen = run({ headers = { ["x-api-key"] = "caller" } }, { headers = { x_api_key = "provider" } })
  check.equal(seen.headers.x_api_key, "provider")
  check.equal(seen.headers["x-api-key"], nil)
end)

check.case("removes credentials also where the provider needs none", function()
  local seen = run({ headers = headers(), args = "key=caller&alt=sse" }, { headers = {} })
  check.equal(seen.headers.authorization, nil)
  check.equal(ngx.var.args, "alt=sse")
end)

check.case("names the consumer when it is told to", function()
  local seen = run({ headers = headers() }, { headers = {}, name_consumer = true })
  check.equal(seen.headers["x-consumer-username"], "alice")
  check.equal(seen.headers.authorization, nil)
end)

check.case("refuses when the vault had nothing, and says no secret", function()
  for _, value in ipairs({ "", "{vault://env/openai-authorization}" }) do
    local seen = run({ headers = { authorization = "Bearer caller" } }, { headers = { authorization = value } })
    check.equal(seen.exit.status, 503)
    check.equal(seen.exit.body.error.code, "policy_unavailable")
    check.equal(seen.logs[1]:find("caller", 1, true), nil)
  end
end)

check.case("refuses when Kong itself fails", function()
  local seen = request({ headers = headers() })
  kong.service.request.set_header = function() error("no") end
  llm_upstream:access({ headers = { authorization = "Bearer provider" } })
  check.equal(seen.exit.status, 503)
end)

check.done()
