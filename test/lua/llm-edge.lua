--- llm-edge: the facts as the contract says, the reply as the plan says.

local check = require "check"
local request = require "kong"
request({})
local llm_edge = require "kong.plugins.llm-edge.handler"

local CONF = { max_body_bytes = 1000000, refuse_upgrade = true }

local function run(fields, conf)
  local seen = request(fields)
  llm_edge:access(conf or CONF)
  return seen, kong.ctx.shared.portcullis_facts
end

local function temporary(text)
  local name = os.tmpname()
  local file = assert(io.open(name, "wb"))
  file:write(text)
  file:close()
  return name
end

check.case("packs the facts of a keyed request, and never the key", function()
  local _, facts = run({
    var = { upstream_uri = "/v1/chat/completions?x=1", host = "llm.example" }, body = "{}",
    headers = { ["content-type"] = "application/json", ["x-team"] = { "a", "b" }, ["x-other"] = "o", ["content-length"] = "2" },
    consumer = { id = "c-1", username = "alice", custom_id = "a-1", tags = { "gold", "red" } },
    credential = { id = "k-1", key = "first-key", created_at = 1700000000, tags = {} },
    groups = { ["c-1"] = { "ops", ops = "ops" } },
    route = { id = "r-1", name = "chat", paths = { "/" } }, service = { id = "s-1", name = "openai" },
  }, { max_body_bytes = 100, extra_headers = { "X-Team", "X-None" } })
  check.equal(facts.filler:find("[^ ]"), nil)
  facts.filler = nil
  check.equal(require("json").encode(facts), table.concat({
    '{"address":"192.0.2.7","body_base64":"base64({})","body_in":"base64","body_size":2,',
    '"consumer":{"custom_id":"a-1","id":"c-1","tags":["gold","red"],"username":"alice"},',
    '"credential":{"created_at":1700000000,"fingerprint":"hash-of-9-bytes","id":"k-1"},',
    '"extra_headers":["x-team","x-none"],"groups":["ops"],"header_count":5,',
    '"headers":{"accept-encoding":"identity","content-length":"2","content-type":"application/json","x-team":"a, b"},',
    '"host":"llm.example","method":"POST","path":"/v1/chat/completions","request_id":"req-1",',
    '"route":{"id":"r-1","name":"chat"},"service":{"id":"s-1","name":"openai"},"version":1}',
  }))
end)

check.case("keeps nothing of routes that Kong has forgotten, whoever calls", function()
  local credential = { id = "k-1", key = "first-key" }
  local function kept_of(caller)
    collectgarbage()
    local before = collectgarbage("count")
    for number = 1, 2000 do
      run({ credential = caller, route = { id = "route-" .. number, name = ("n"):rep(500) .. number } })
    end
    request({})
    collectgarbage()
    return collectgarbage("count") - before
  end
  for _, caller in ipairs({ credential, false }) do
    local kilobytes = kept_of(caller or nil)
    check.equal(kilobytes < 500, true, kilobytes .. " KB")
  end
end)

check.case("what requests share is told anew once Kong knows it anew", function()
  local credential, consumer = { id = "k-1", key = "first-key" }, { id = "c-1", tags = { "gold" } }
  local route, service = { id = "r-1" }, { id = "s-1" }
  local function told(fields)
    local _, facts = run({
      credential = credential, consumer = fields.consumer or consumer, route = fields.route or route,
      service = fields.service or service,
    })
    return facts
  end
  local first = told({})
  check.equal(told({}).consumer, first.consumer)
  check.equal(told({ consumer = { id = "c-1", tags = { "red" } } }).consumer.tags[1], "red")
  check.equal(told({}).consumer.tags[1], "gold")
  check.equal(told({ route = { id = "r-2" } }).route.id, "r-2")
  check.equal(told({ route = { id = "r-1", name = "new" } }).route.name, "new")
  check.equal(told({ service = { id = "s-2" } }).service.id, "s-2")
  check.equal(told({}).service.id, "s-1")
  credential = { id = "k-2", key = "another-key" }
  check.equal(told({}).credential.fingerprint, "hash-of-11-bytes")
  credential = nil
  check.equal(told({}).credential, nil)
  -- Of somebody whom Kong forgot nothing may be left for a request of nobody.
  check.equal(told({ consumer = { id = "c-2" } }).consumer.id, "c-2")
  request({})
  collectgarbage()
  collectgarbage()
  local _, nobody = run({ route = route, service = service })
  check.equal(nobody.consumer, nil)
end)

check.case("packs the names of a query, and none of its values", function()
  local function query(args)
    local _, facts = run({ args = args })
    return facts.query
  end
  check.equal(query(nil), nil)
  check.equal(query("api-version=1&key=secret"), "api-version&key")
  check.equal(query("a=x;model=gpt-5&b=y?model=z&flag"), "a;model&b?model&flag")
  check.equal(query("%6dodel=a=b"), "%6dodel")
end)

check.case("counts a header in underscores as the one with dashes", function()
  local _, facts = run({
    headers = { x_http_method_override = "DELETE", content_encoding = "gzip", ["content-type"] = "a", content_type = "b" },
  })
  check.equal(facts.headers["x-http-method-override"], "DELETE")
  check.equal(facts.headers["content-encoding"], "gzip")
  local types = facts.headers["content-type"]
  check.equal(types == "a, b" or types == "b, a", true)
  check.equal(facts.headers.content_type, nil)
end)

check.case("an anonymous consumer has neither credential nor groups", function()
  local _, facts = run({ consumer = { id = "c-1" }, groups = { ["c-1"] = { "ops" } } })
  check.equal(facts.credential, nil)
  check.equal(facts.groups, nil)
  check.equal(facts.consumer.tags, nil)
  check.equal(facts.body_in, "none")
  check.equal(facts.body_size, nil)
end)

check.case("groups that another auth plugin vouched for count, a header does not", function()
  local _, facts = run({ ctx = { authenticated_groups = { "staff" } }, headers = { ["x-consumer-groups"] = "admin" } })
  check.equal(table.concat(facts.groups, ","), "staff")
  check.equal(facts.headers["x-consumer-groups"], nil)
end)

check.case("asks the upstream for an uncompressed reply", function()
  local seen, facts = run({ headers = { ["accept-encoding"] = "gzip" } })
  check.equal(seen.headers["accept-encoding"], "identity")
  check.equal(facts.headers["accept-encoding"], "identity")
end)

check.case("packs a body of 64 KiB, leaves a larger one to be read", function()
  local _, packed = run({ body = ("x"):rep(65536) })
  check.equal(packed.body_in, "base64")
  local _, raw = run({ body = ("x"):rep(65537) })
  check.equal(raw.body_in, "raw")
  check.equal(raw.body_size, 65537)
  check.equal(raw.body_base64, nil)
end)

check.case("reads a body that nginx put into a file", function()
  for size, body_in in pairs({ [9000] = "base64", [70000] = "raw" }) do
    local name = temporary(("x"):rep(size))
    local _, facts = run({ body_file = name })
    os.remove(name)
    check.equal(facts.body_in, body_in)
    check.equal(facts.body_size, size)
  end
end)

check.case("refuses what nobody can judge", function()
  local function refused(fields, status, code)
    local seen, facts = run(fields)
    check.equal(seen.exit.status, status)
    check.equal(seen.exit.body.error.code, code)
    check.equal(kong.ctx.shared.portcullis_refusal.code, code)
    check.equal(kong.ctx.shared.portcullis_refusal.plugin, "llm-edge")
    check.equal(facts, nil)
    return seen
  end
  refused({ truncated = true }, 431, "headers_too_large")
  refused({ var = { upstream_upgrade = "websocket" } }, 400, "unmetered_operation")
  local early = refused({ headers = { ["content-length"] = "1000001" } }, 413, "request_too_large")
  check.equal(early.read_body, nil, "the body was read")
  refused({ body = ("x"):rep(1000001) }, 413, "request_too_large")
  refused({ body_file = "/no/such/file" }, 503, "policy_unavailable")
  local _, facts = run({ var = { upstream_upgrade = "websocket" } }, { max_body_bytes = 9, refuse_upgrade = false })
  check.equal(facts.version, 1)
end)

local PLAN = {
  stream = true, usage_mark = '"usage"', usage_paths = { "usage" }, usage_member = "usage", text_keys = {}, skip_keys = {},
  token_weights = { 1, 1, 1, 1 }, final_template = "", withhold_usage = true,
}

local function with(changes)
  local plan = {}
  for _, from in ipairs({ PLAN, changes }) do
    for key, value in pairs(from) do
      plan[key] = value
    end
  end
  return plan
end

local function reply(fields, plan, pieces)
  fields.shared = { portcullis_llm_token_limit = {
    version = 1, mark = {},
    reply_headers = require("json").encode({ "x-ratelimit-limit-tokens", "10" }),
    tap = plan and require("json").encode(plan) or nil,
  }, other = "x" }
  local seen, out = request(fields), {}
  llm_edge:header_filter({})
  for i, piece in ipairs(pieces) do
    if piece then
      ngx.arg = { piece, i == #pieces }
      llm_edge:body_filter({})
      out[i] = ngx.arg[1]
    end
  end
  llm_edge:log({})
  return table.concat(out), kong.ctx.shared.portcullis_llm_token_limit.report, seen
end

local USAGE = 'data: {"choices":[],"usage":{"n":1}}\n\n'

check.case("sends the headers that plugins asked for, follows the stream, reports", function()
  local out, report, seen = reply({
    reply_headers = { ["content-type"] = "text/event-stream; charset=utf-8", ["content-length"] = "99" },
    var = { request_completion = "OK", upstream_addr = "192.0.2.1:80, 192.0.2.2:80", upstream_status = "502, 200" },
  }, PLAN, { USAGE .. ": x\n", "" })
  check.equal(out, ": x\n")
  check.equal(seen.reply_headers["x-ratelimit-limit-tokens"], "10")
  check.equal(seen.reply_headers["content-length"], nil)
  check.equal(require("json").encode(report), '{"completed":true,"contacted":true,"source":"service","status":200,'
    .. '"tap":{"ended":"final","events":["{\\u0022choices\\u0022:[],\\u0022usage\\u0022:{\\u0022n\\u0022:1}}"]},'
    .. '"upstream_status":200,"version":1}')
end)

check.case("reads a JSON reply without touching its length", function()
  local out, report, seen = reply({ reply_headers = { ["content-type"] = "application/json", ["content-length"] = "9" } },
    with({ stream = false }), { '{"usage":', '{"n":2}}' })
  check.equal(out, '{"usage":{"n":2}}')
  check.equal(report.tap.usage_json, '{"n":2}')
  check.equal(seen.reply_headers["content-length"], "9")
  check.equal(report.broken_by, "client")
end)

check.case("a compressed reply is read unpacked, and one that nobody can read is not cut short unseen", function()
  local inflate = require "kong.plugins.llm-edge.inflate"
  local decoder, push = inflate.decoder, inflate.push
  inflate.decoder = function(encoding)
    if encoding == "br" then
      return false
    end
    return encoding == "gzip" and {} or nil
  end
  inflate.push = function(_, piece)
    if piece == "bad" then
      return nil, "broken"
    end
    return piece:upper()
  end

  local out, report, seen = reply({ reply_headers = { ["content-encoding"] = "gzip", ["content-length"] = "9" } },
    with({ stream = false }), { "ab", "c" })
  check.equal(out, "ABC")
  check.equal(seen.reply_headers["content-encoding"], nil)
  check.equal(seen.reply_headers["content-length"], nil)
  check.equal(report.tap.ended, "final")

  local _, unread, kept = reply({ reply_headers = { ["content-encoding"] = "br" } }, with({}), { "ab", "c" })
  check.equal(unread.tap, nil)
  check.equal(kept.reply_headers["content-encoding"], "br")

  local _, _, refused = reply({ reply_headers = { ["content-encoding"] = "br" } }, with({ max_output_tokens = 9 }), {})
  check.equal(refused.exit.status, 503)
  check.equal(refused.exit.body.error.code, "policy_unavailable")

  local cut, broken = reply({
    reply_headers = { ["content-encoding"] = "gzip" }, var = { request_completion = "OK", upstream_addr = "192.0.2.1:80" },
  }, with({}), { "data: x\n\n", "bad", "more" })
  check.equal(cut, "DATA: X\n\n")
  check.equal(broken.completed, false)
  check.equal(broken.broken_by, "upstream")
  inflate.decoder, inflate.push = decoder, push
end)

check.case("where a stream may be cut, the client is asked to hang up, but not over HTTP/2", function()
  local plan = with({ max_output_tokens = 9 })
  for version, expected in pairs({ [1.1] = "close", [2] = false }) do
    local _, _, seen = reply({ http_version = version, reply_headers = {} }, plan, {})
    check.equal(seen.reply_headers.connection or false, expected)
  end
  local _, _, uncut = reply({ reply_headers = {} }, PLAN, {})
  check.equal(uncut.reply_headers.connection, nil)
end)

check.case("of two plans the stricter one is followed, whatever their order", function()
  local json = require "json"
  for _, order in ipairs({ { "llm_scope", "llm_api_key" }, { "llm_api_key", "llm_scope" } }) do
    local function entry(plan)
      return { version = 1, mark = { plugin = "p" }, tap = json.encode(plan) }
    end
    request({ reply_headers = { ["content-length"] = "9" }, shared = {
      ["portcullis_" .. order[1]] = entry(with({ withhold_usage = false })),
      ["portcullis_" .. order[2]] = entry(with({ max_output_tokens = 7, final_template = "end" })),
      portcullis_llm_gateway = entry(with({ withhold_usage = false, max_output_tokens = 9, final_template = "late" })),
    } })
    llm_edge:header_filter({})
    local plan = kong.ctx.plugin.tap.plan
    check.equal(plan.withhold_usage, true)
    check.equal(plan.max_output_tokens, 7)
    check.equal(plan.final_template, "end")
  end
end)

check.case("gathers what an observer needs, also of a request that was refused before", function()
  request({ shared = {
    portcullis_llm_scope = {
      version = 1, mark = { plugin = "llm-scope" }, would_reject = { "insufficient_scope" }, rule = "llm:chat",
      reply_headers = "[]",
    },
    portcullis_refusal = { version = 1, plugin = "llm-token-limit", code = "rate_limit_exceeded" },
  }, status = 429 })
  llm_edge:log({})
  local ending = kong.ctx.shared.portcullis_ending
  check.equal(ending.report.status, 429)
  check.equal(ending.refusal.code, "rate_limit_exceeded")
  check.equal(#ending.entries, 1)
  check.equal(ending.entries[1].plugin, "llm-scope")
  check.equal(ending.entries[1].would_reject[1], "insufficient_scope")
  check.equal(ending.entries[1].rule, "llm:chat")
  check.equal(ending.entries[1].reply_headers, nil)
  request({ shared = {}, status = 401 })
  llm_edge:log({})
  check.equal(kong.ctx.shared.portcullis_ending.entries, nil)
  check.equal(kong.ctx.shared.portcullis_ending.report.contacted, false)
end)

check.case("a reply that nobody can unpack and one of Kong's own pass unobserved", function()
  for _, fields in ipairs({
    { reply_headers = { ["content-type"] = "text/event-stream", ["content-encoding"] = "zstd" } },
    { reply_headers = { ["content-type"] = "text/event-stream" }, source = "error" },
  }) do
    local out, report = reply(fields, PLAN, { USAGE })
    check.equal(out, USAGE)
    check.equal(report.tap, nil)
  end
end)

check.case("tells who broke a reply off", function()
  local stream = { ["content-type"] = "text/event-stream" }
  for _, plan in ipairs({ PLAN, false }) do
    local _, gone = reply({ reply_headers = stream, var = { request_completion = "" } }, plan, { USAGE, "" })
    check.equal(gone.broken_by, "client")
    check.equal(gone.completed, false)
    local _, broken = reply({ reply_headers = stream, var = { request_completion = "OK" } }, plan, { USAGE, false })
    check.equal(broken.broken_by, "upstream")
    check.equal(broken.completed, false)
  end
  local _, never = reply({ status = 499, var = {} }, nil, {})
  check.equal(never.broken_by, "client")
  check.equal(never.contacted, false)
  check.equal(never.upstream_status, nil)
  local _, refused = reply({ status = 502, var = { upstream_addr = "192.0.2.1:80", upstream_status = "-" } }, nil, {})
  check.equal(refused.contacted, true)
  check.equal(refused.upstream_status, nil)
end)

check.case("tells an upstream that was late from one that could not be reached", function()
  for times, late in pairs({ ["0.001"] = true, ["0.000"] = true, ["-, 0.001"] = true, ["-"] = false, ["0.001, -"] = false }) do
    local statuses = times:find(",") and "504, 504" or "504"
    local var = { upstream_addr = "192.0.2.1:80", upstream_status = statuses, upstream_connect_time = times }
    local _, report = reply({ status = 504, source = "error", var = var }, nil, {})
    check.equal(report.timed_out, late or nil)
    -- The upstream's own 504 is an answer.
    local _, answered = reply({ status = 504, var = var }, nil, {})
    check.equal(answered.timed_out, nil)
  end
end)

check.case("a reply without a body is whole", function()
  for status, method in pairs({ [204] = "POST", [304] = "GET", [200] = "HEAD" }) do
    local _, report = reply({ status = status, method = method, var = { request_completion = "OK" } }, nil, {})
    check.equal(report.completed, true)
    check.equal(report.broken_by, nil)
  end
end)

check.case("a broken plan or header breaks no reply", function()
  local out, report, seen = reply({ reply_headers = { ["content-type"] = "text/event-stream" } }, { text_keys = 1 }, { USAGE })
  check.equal(out, USAGE)
  check.equal(report.tap, nil)
  check.equal(#seen.logs, 1)
end)

check.case("lets nobody find the process of a plugin server who does not ask for it", function()
  request({})
  local first, later = { name = "first", proc = "a handle" }, { name = "later" }
  local other = setmetatable({ proc = "its own" }, {})
  kong.configuration = { pluginservers = { first, later, other } }
  for _ = 1, 2 do
    llm_edge:init_worker()
  end
  later.proc, later.protocol = "another handle", "MsgPack:1"
  check.equal(first.proc, "a handle")
  check.equal(later.proc, "another handle")
  check.equal(rawget(first, "proc"), nil)
  check.equal(rawget(later, "proc"), nil)
  check.equal(rawget(later, "protocol"), "MsgPack:1")
  check.equal(later.start_command, nil)
  later.proc = nil
  check.equal(later.proc, nil)
  check.equal(rawget(other, "proc"), "its own")
end)

check.case("leaves a Kong that is made otherwise to its own way", function()
  local seen = request({})
  kong.db = {}
  llm_edge:init_worker()
  check.equal(seen.logs[1], "llm-edge leaves plugins to Kong's own way: ")
end)

check.done()
