--- What Kong's plugin API for other languages cannot do: facts in one read, the reply as it passes.

local cjson = require "cjson.safe"
local complain = require "kong.plugins.llm-edge.complain"
local direct = require "kong.plugins.llm-edge.direct"
local facts_of = require "kong.plugins.llm-edge.facts"
local inflate = require "kong.plugins.llm-edge.inflate"
local refuse = require "kong.plugins.llm-edge.refuse"
local settle = require "kong.plugins.llm-edge.settle"
local tap = require "kong.plugins.llm-edge.tap"
local tell_failure = require "kong.plugins.llm-edge.upstream-failure"
local whole_admin_api = require "kong.plugins.llm-edge.whole-admin-api"

local MAX_PLANS = 100

local LlmEdge = { PRIORITY = 949, VERSION = "0.1.0" }

--- What the plugins of this request wrote.
local function entries_of(shared)
  local entries
  for i = 1, #direct.ENTRIES do
    local entry = shared[direct.ENTRIES[i]]
    if type(entry) == "table" and entry.mark then
      entries = entries or {}
      entries[#entries + 1] = entry
    end
  end
  return entries
end

function LlmEdge.init_worker()
  local ok, fault = pcall(direct.install)
  if not ok then
    ngx.log(ngx.ERR, "llm-edge leaves plugins to Kong's own way: ", fault)
  end
  ok, fault = pcall(whole_admin_api)
  if not ok then
    ngx.log(ngx.ERR, "llm-edge leaves the Admin API as it is: ", fault)
  end
end

function LlmEdge.access(_, conf)
  local ok, facts, body, more = pcall(facts_of, conf, conf.direct and direct.installed)
  if not ok then
    complain("llm-edge", "could not pack the facts of the request: ", facts)
    facts, body, more = nil, "policy_unavailable", "The gateway could not read the request."
  end
  if not facts then
    return refuse("llm-edge", body, more)
  end
  kong.ctx.shared.portcullis_facts = facts
  if more then
    more.facts, more.body = facts, body
    ngx.ctx.portcullis_request = more
  else
    direct.complete(facts, body)
  end
end

--- Not Kong's get_header, which reads every header of the reply for one.
local function reply_header(name)
  local value = ngx.header[name]
  return type(value) == "table" and table.concat(value, ", ") or value
end

local function begin_tap(plan)
  if kong.response.get_source() ~= "service" then
    return
  end
  local may_cut = plan.stream and plan.max_output_tokens
  local decoder = inflate.decoder(reply_header("content-encoding"))
  if decoder == false and may_cut then
    kong.response.clear_header("content-encoding")
    return refuse("llm-edge", "policy_unavailable", "The reply is compressed in a way that nobody here can read.")
  elseif decoder == false then
    return
  elseif decoder then
    kong.response.clear_header("content-encoding")
    kong.ctx.plugin.decoder = decoder
  end
  if decoder or may_cut or plan.stream and plan.withhold_usage then
    kong.response.clear_header("content-length")
  end
  -- nginx reads on behind a stream that was cut until the client hangs up; HTTP/2 has no header to ask for that.
  if may_cut and ngx.req.http_version() < 2 then
    kong.response.set_header("connection", "close")
  end
  kong.ctx.plugin.tap = tap.new(plan)
end

--- Plans by their text: a route has few, and decoding one for every request costs more than following it.
local plans, planned = {}, 0

local function plan_of(text)
  if not plans[text] then
    if planned >= MAX_PLANS then
      plans, planned = {}, 0
    end
    plans[text], planned = assert(cjson.decode(text)), planned + 1
  end
  return plans[text]
end

--- Of two plans the stricter one, whatever their order: `mergeTaps` of policies/llm/tap.ts.
local function stricter(one, other)
  if not one then
    return other
  end
  local a, b = one.max_output_tokens, other.max_output_tokens
  local plan = {}
  for key, value in pairs((not a or b and b < a) and other or one) do
    plan[key] = value
  end
  plan.withhold_usage = one.withhold_usage or other.withhold_usage
  plan.max_output_tokens = a and b and math.min(a, b) or a or b
  return plan
end

--- Sends the headers that a plugin asked for. Returns the plan of its tap and of those before it.
local function follow(entry, plan)
  local headers = entry.reply_headers
  headers = type(headers) == "string" and assert(cjson.decode(headers)) or headers
  for i = 1, headers and #headers or 0, 2 do
    ngx.header[headers[i]] = headers[i + 1]
  end
  return entry.tap and stricter(plan, plan_of(entry.tap)) or plan
end

function LlmEdge.header_filter()
  local entries, plan = entries_of(kong.ctx.shared), nil
  for i = 1, entries and #entries or 0 do
    local ok, found = pcall(follow, entries[i], plan)
    if ok then
      plan = found
    else
      complain("llm-edge", "could not follow the reply: ", found)
    end
  end
  if plan then
    local ok, err = pcall(begin_tap, plan)
    if not ok then
      complain("llm-edge", "could not follow the reply: ", err)
    end
  end
end

function LlmEdge.body_filter()
  local own, eof = kong.ctx.plugin, ngx.arg[2]
  local state = own.tap
  if state then
    local chunk = ngx.arg[1]
    local plain, broken = chunk, nil
    if own.decoder and not state.done then
      plain, broken = inflate.push(own.decoder, chunk)
    end
    local out, over = tap.feed(state, plain or "", eof)
    if broken then
      complain("llm-edge", "could not read the reply: ", broken)
      own.broken, state.done, over = true, true, true
    end
    if out ~= chunk then
      ngx.arg[1] = out
    end
    if over and not eof then
      ngx.arg[2], eof = true, true
    end
  end
  own.ended = own.ended or eof
end

--- Of nginx's list of every try's status, mostly one.
local function last_number(text)
  return text and (tonumber(text) or tonumber(text:match("(%d+)%D*$")))
end

--- How the request ended: `Report` of plugins/kong/shared-context.ts. nginx calls a reply complete even when the
-- upstream broke off, but then its last piece never came; it does not when the client left.
local function report(state)
  local var, status = ngx.var, ngx.status
  local sent = var.request_completion == "OK"
  local over = kong.ctx.plugin.ended and not kong.ctx.plugin.broken
  local whole = over or ngx.req.get_method() == "HEAD" or status == 204 or status == 304
  local source, answered = kong.response.get_source(), last_number(var.upstream_status)
  -- nginx says 504 too where it could not connect: then the last try has no time of connecting.
  local late = source == "error" and answered == 504 and (var.upstream_connect_time or ""):find("%d$")
  return {
    version = 1,
    status = status,
    source = source,
    contacted = var.upstream_addr ~= nil,
    upstream_status = answered,
    timed_out = late and true or nil,
    completed = sent and whole or false,
    broken_by = not sent and "client" or not whole and "upstream" or nil,
    tap = state and state.report,
  }
end

--- Of each entry what an observer reads: `EndedEntry` of plugins/kong/ending.ts.
local function parts_of(entries)
  local parts = {}
  for _, entry in ipairs(entries) do
    parts[#parts + 1] = not entry.unheard and {
      plugin = entry.mark.plugin, protocol = entry.protocol, reservations = entry.reservations,
      would_reject = entry.would_reject, rule = entry.rule, verdicts = entry.verdicts, claims = entry.claims,
      identity = entry.identity,
    } or nil
  end
  return parts[1] and parts
end

function LlmEdge.log()
  local state = kong.ctx.plugin.tap
  if state and state.report.fault then
    complain("llm-edge", "the reply was delivered unobserved: ", state.report.fault)
  end
  local shared = kong.ctx.shared
  local ended, entries = report(state), entries_of(shared)
  for i = 1, entries and #entries or 0 do
    entries[i].report, entries[i].reply_headers, entries[i].tap = ended, nil, nil
  end
  local ok, taken, refusal = true, false, shared.portcullis_refusal
  -- Before the rest of the request is over for the server.
  if refusal and refusal.undecided and shared.portcullis_facts then
    local told, watchers = pcall(settle.disown, shared, direct.ENTRY_OF)
    if not told then
      complain("llm-edge", "what was decided too late is not given back: ", watchers)
    end
    for i = 1, told and #watchers or 0 do
      entries = entries or {}
      entries[#entries + 1] = watchers[i]
    end
  end
  if entries then
    ok, taken = pcall(settle.take_over, entries, ended, refusal)
  end
  if not ok then
    complain("llm-edge", "the settlement is left to Kong: ", taken)
  end
  -- For the log phase of a plugin that watches: one that is left to Kong, one that refused, or one that never decided.
  if not ok or not taken or refusal then
    shared.portcullis_ending =
      { version = 1, report = ended, refusal = refusal, entries = entries and parts_of(entries) }
  end
  tell_failure(ended)
end

return LlmEdge
