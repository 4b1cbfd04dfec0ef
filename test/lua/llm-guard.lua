--- llm-guard: only the mark of the very config that Kong runs for this request opens the door.

local check = require "check"
local request = require "kong"
request({})
local llm_guard = require "kong.plugins.llm-guard.handler"

local CONF = { require = { "llm-token-limit" } }

--- Kong's queue of a phase: size at 0, then plugin and config in turns.
local function queue(...)
  local items = { ... }
  items[0] = #items
  return { plugins = { log = items } }
end

local QUEUE = queue({ name = "key-auth" }, { __plugin_id = "id-9" }, { name = "llm-token-limit" }, { __plugin_id = "id-1" })

local function run(mark, ctx, conf)
  local entry = mark and { version = 1, mark = mark }
  local seen = request({ shared = { portcullis_llm_token_limit = entry }, ctx = ctx or QUEUE })
  llm_guard:access(conf or CONF)
  return seen
end

check.case("lets a marked request through", function()
  check.equal(run({ plugin = "llm-token-limit", plugin_id = "id-1" }).exit, nil)
end)

check.case("refuses every other mark", function()
  for _, mark in ipairs({
    false, { plugin = "llm-token-limit" }, { plugin_id = "id-1" }, {}, { plugin = "llm-token-limit", plugin_id = "id-2" },
    { plugin = "llm-scope", plugin_id = "id-1" }, { plugin = "llm-token-limit", plugin_id = "id-9" },
  }) do
    local seen = run(mark)
    check.equal(seen.exit and seen.exit.status, 503)
    check.equal(seen.exit.body.error.code, "policy_unavailable")
    check.equal(seen.exit.headers["x-request-id"], "req-1")
    check.equal(#seen.logs, 1)
  end
end)

check.case("refuses when one of several is missing", function()
  local seen = run({ plugin = "llm-token-limit", plugin_id = "id-1" }, nil, { require = { "llm-token-limit", "llm-scope" } })
  check.equal(seen.exit.status, 503)
end)

check.case("refuses a mark where the plugin does not run at all", function()
  local seen = run({ plugin = "llm-token-limit" }, queue())
  check.equal(seen.exit.status, 503)
  check.equal(seen.logs[1], "[llm-guard] llm-token-limit is not configured for this request, request_id: req-1")
end)

check.case("refuses when Kong's queue is not where it was, or an entry is no table", function()
  check.equal(run({ plugin = "llm-token-limit", plugin_id = "id-1" }, {}).exit.status, 503)
  local seen = request({ shared = { portcullis_llm_token_limit = "x" }, ctx = QUEUE })
  llm_guard:access(CONF)
  check.equal(seen.exit.status, 503)
end)

check.done()
