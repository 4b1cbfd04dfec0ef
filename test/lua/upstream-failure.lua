--- The line about a request that failed behind the plugins: when there is one, what it holds, and how many there are.

local check = require "check"
local request = require "kong"
request({})

local SECRET = "key-in-the-query"
local TRIED = {
  upstream_addr = "127.0.0.1:1, 127.0.0.1:2", upstream_status = "502, 502", upstream_connect_time = "-, 0.001",
  upstream_header_time = "-, -", request_uri = "/v1/chat?key=" .. SECRET, upstream_uri = "/v1/chat?key=" .. SECRET,
}
local FAILED = { status = 502, source = "error", contacted = true }
local now = 1000

--- A worker in which nothing failed yet. `end_request` is a request's last phase; returns its lines.
local function worker()
  package.loaded["kong.plugins.llm-edge.upstream-failure"] = nil
  local tell = require "kong.plugins.llm-edge.upstream-failure"
  local self = { timers = {} }
  function self.end_request(report, fields)
    fields = fields or {}
    local var = {}
    for name, value in pairs(fields.var or TRIED) do
      var[name] = value
    end
    local seen = request({
      var = var, args = "key=" .. SECRET, headers = { authorization = SECRET }, body = SECRET, shared = fields.shared,
      ctx = fields.ctx, route = { id = "r-1", name = "chat" }, service = fields.service or { id = "s-1", name = "openai" },
    })
    ngx.time = function() return now end
    ngx.timer = { at = function(seconds, run)
      if self.no_timers then
        return nil, "too many pending timers"
      end
      check.equal(seconds, 1)
      self.timers[#self.timers + 1] = run
      return 1
    end }
    tell(report)
    check.equal(table.concat(seen.logs):find(SECRET, 1, true), nil)
    return seen.logs
  end
  function self.fire()
    local logs = {}
    ngx.log = function(_, text) logs[#logs + 1] = text end
    table.remove(self.timers, 1)(false)
    return logs
  end
  return self
end

check.case("says who failed and how, and nothing of the request but Kong's id", function()
  local logs = worker().end_request(FAILED)
  check.equal(#logs, 1)
  check.equal(logs[1], "no reply from the upstream: status 502, service openai, route chat, "
    .. "upstream: 127.0.0.1:1, 127.0.0.1:2, answered: 502, 502, connected after: -, 0.001, headers after: -, -, "
    .. "request_id: req-1")
end)

check.case("tells the ways to fail apart", function()
  local function what(report, fields)
    local logs = worker().end_request(report, fields)
    return logs[1] and logs[1]:match("^[^:]+")
  end
  local none = { var = {} }
  check.equal(what({ status = 504, source = "error", contacted = true, timed_out = true }), "no reply from the upstream")
  check.equal(what({ status = 200, source = "service", contacted = true, broken_by = "upstream" }),
    "the upstream broke its reply off")
  check.equal(what({ status = 9, source = "service", contacted = true }), "what the upstream sent is no HTTP")
  check.equal(what({ status = 503, source = "exit", contacted = false }, none), "failed without asking the upstream")
  check.equal(what({ status = 500, source = "error", contacted = false }, none), "failed without asking the upstream")
  check.equal(what({ status = 200, source = "service", contacted = true }, { ctx = { balancer_data = { try_count = 2 } } }),
    "the upstream took more than one try")
end)

check.case("says nothing of what nginx says nothing of, nor of what the pack refused", function()
  local self = worker()
  local refusal = { portcullis_refusal = { plugin = "llm-guard", code = "policy_unavailable" } }
  for _, seen in ipairs({
    { { status = 200, source = "service", contacted = true } },
    { { status = 200, source = "service", contacted = true }, { ctx = { balancer_data = { try_count = 1 } } } },
    { { status = 500, source = "service", contacted = true } },
    { { status = 101, source = "service", contacted = true } },
    { { status = 499, source = "service", contacted = true, broken_by = "client" } },
    { { status = 413, source = "error", contacted = false } },
    { { status = 401, source = "exit", contacted = false } },
    { { status = 503, source = "exit", contacted = false }, { shared = refusal } },
  }) do
    check.equal(#self.end_request(seen[1], seen[2]), 0, seen[1].status)
  end
end)

check.case("takes ids where there is no name, and stands what is missing", function()
  local logs = worker().end_request(FAILED, { var = {}, service = { id = "s-2" } })
  check.equal(logs[1], "no reply from the upstream: status 502, service s-2, route chat, request_id: req-1")
end)

check.case("counts what is too much for a second, by service, and begins anew in the next", function()
  local self, lines = worker(), 0
  for i = 1, 1000 do
    lines = lines + #self.end_request(FAILED, i > 990 and { service = { name = "vllm" } } or nil)
  end
  check.equal(lines, 5)
  check.equal(#self.timers, 1)
  check.equal(table.concat(self.fire(), "\n"), "995 more requests failed: openai 985 times, vllm 10 times")
  check.equal(#self.timers, 0)
  check.equal(#self.end_request(FAILED), 0)
  check.equal(table.concat(self.fire()), "1 more requests failed: openai 1 times")
  now = now + 1
  check.equal(#self.end_request(FAILED), 1)
end)

check.case("names no more services than a line has room for", function()
  local self = worker()
  for i = 1, 105 do
    self.end_request(FAILED, { service = { name = ("s%03d"):format(i) } })
  end
  local line = table.concat(self.fire())
  check.equal(line:find("100 more requests failed: s", 1, true), 1)
  check.equal(select(2, line:gsub(" times", "")), 10)
  check.equal(line:find(", and other services", 1, true) ~= nil, true)
end)

check.case("tells the count when there is a timer again", function()
  local self = worker()
  self.no_timers = true
  for _ = 1, 10 do
    self.end_request(FAILED)
  end
  self.no_timers = false
  self.end_request(FAILED)
  check.equal(table.concat(self.fire()), "6 more requests failed: openai 6 times")
end)

check.done()
