--- llm-key: where official SDKs put a key, and every way to hide a second one.

local check = require "check"
local request = require "kong"
request({})
local llm_key = require "kong.plugins.llm-key.handler"

local CONF = { key_name = "apikey" }
local JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"

local function run(fields, conf)
  local seen = request(fields)
  llm_key:access(conf or CONF)
  return seen
end

local function refused(fields, status, code)
  local seen = run(fields)
  check.equal(seen.exit and seen.exit.status, status, "status")
  check.equal(seen.exit.body.error.code, code, "code")
  check.equal(seen.exit.headers["cache-control"], "no-store")
  for _, text in ipairs({ "first-key", "second-key" }) do
    check.equal(require("json").encode(seen.exit.body):find(text, 1, true), nil, "secret in the reply")
  end
end

check.case("takes the key from where each SDK puts it, and removes it there", function()
  for name, value in pairs({
    ["authorization"] = "Bearer first-key", ["x-api-key"] = "first-key", ["api-key"] = "first-key",
    ["x-goog-api-key"] = "first-key", ["apikey"] = "first-key",
  }) do
    local seen = run({ headers = { [name] = value } })
    check.equal(seen.exit, nil)
    check.equal(seen.headers.apikey, "first-key", name)
    check.equal(name ~= "apikey" and seen.headers[name] or nil, nil, name)
  end
end)

check.case("leaves the key in no spelling of a header", function()
  local seen = run({ headers = { authorization = "Bearer first-key", x_api_key = "first-key", ["x_goog-api-key"] = "first-key",
    ["x-api_key"] = "another", ["x_other"] = "1" } })
  check.equal(seen.exit, nil)
  check.equal(seen.headers.apikey, "first-key")
  for name in pairs(seen.headers) do
    check.equal(name == "apikey" or name == "x_other", true, name)
  end
end)

check.case("takes ?key= and leaves the rest of the query", function()
  local seen = run({ args = "alt=sse&key=first-key&x=1" })
  check.equal(seen.headers.apikey, "first-key")
  check.equal(ngx.var.args, "alt=sse&x=1")
end)

check.case("refuses ?key= when told to, whatever else there is", function()
  local conf = { key_name = "apikey", key_in_query = false }
  local seen = run({ args = "key=first-key", headers = { ["x-goog-api-key"] = "first-key" } }, conf)
  check.equal(seen.exit.status, 401)
  check.equal(require("json").encode(seen.exit.body):find("first-key", 1, true), nil, "secret in the reply")
  check.equal(run({ args = "alt=sse", headers = { ["x-goog-api-key"] = "first-key" } }, conf).headers.apikey, "first-key")
end)

check.case("understands any case and spacing of the scheme", function()
  check.equal(run({ headers = { authorization = "  bEARER   first-key " } }).headers.apikey, "first-key")
end)

check.case("the same key in several places is one key", function()
  local seen = run({ headers = { authorization = "Bearer first-key", ["x-api-key"] = { "first-key", "first-key" } },
    args = "key=first-key" })
  check.equal(seen.exit, nil)
  check.equal(seen.headers.authorization, nil)
  check.equal(seen.headers["x-api-key"], nil)
end)

check.case("leaves other schemes and tokens for whoever reads them", function()
  for _, value in ipairs({ "Basic YTpi", "Bearer " .. JWT, "Bearer " .. JWT .. ".YQ.Yg", "Bearer ", "Bearer" }) do
    local seen = run({ headers = { authorization = value } })
    check.equal(seen.exit, nil)
    check.equal(seen.headers.authorization, value)
    check.equal(seen.headers.apikey, nil)
  end
end)

check.case("a token does not hide a key", function()
  local seen = run({ headers = { authorization = { "Bearer " .. JWT }, ["x-api-key"] = "first-key" } })
  check.equal(seen.headers.apikey, "first-key")
  check.equal(seen.headers.authorization[1], "Bearer " .. JWT)
end)

check.case("refuses two different keys, wherever they are", function()
  local places = {
    { headers = { authorization = "Bearer second-key" } }, { headers = { ["x-api-key"] = "second-key" } },
    { headers = { ["api-key"] = "second-key" } }, { headers = { ["x-goog-api-key"] = "second-key" } },
    { args = "key=second-key" }, { headers = { authorization = { "Bearer first-key", "Bearer second-key" } } },
    { args = "key=first-key&key=second-key" },
  }
  for _, place in ipairs(places) do
    place.headers = place.headers or {}
    place.headers.apikey = "first-key"
    if not place.headers["x-goog-api-key"] then
      refused(place, 401, "invalid_key")
    else
      local seen = run(place)
      check.equal(seen.exit.body.error.status, "UNAUTHENTICATED")
      check.equal(seen.exit.body.error.details[1].metadata.code, "invalid_key")
    end
  end
end)

check.case("refuses what cannot be a key", function()
  refused({ headers = { authorization = "Bearer first-key second-key" } }, 401, "invalid_key")
  refused({ headers = { ["api-key"] = ("k"):rep(1025) } }, 401, "invalid_key")
  refused({ headers = { ["api-key"] = "k\195\164y" } }, 401, "invalid_key")
end)

check.case("refuses more headers than the gateway shows", function()
  refused({ truncated = true }, 431, "headers_too_large")
end)

check.case("answers in Anthropic's shape where its version header is", function()
  local seen = run({ headers = { ["anthropic-version"] = "2023-06-01", ["x-api-key"] = { "first-key", "b" } } })
  check.equal(seen.exit.body.type, "error")
  check.equal(seen.exit.body.error.type, "authentication_error")
  check.equal(seen.exit.body.request_id, "req-1")
end)

check.case("shuts the door when it fails", function()
  local seen = request({ headers = { ["x-api-key"] = "first-key" } })
  kong.service.request.set_header = function() error("no") end
  llm_key:access(CONF)
  check.equal(seen.exit.status, 503)
  check.equal(seen.exit.body.error.code, "policy_unavailable")
  check.equal(seen.logs[1]:find("first-key", 1, true), nil)
end)

check.done()
