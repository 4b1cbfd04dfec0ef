--- llm-edge's settlements: what the plugin server is told, when it is not there, and what stays Kong's.

local check = require "check"
local json = require "json"
local request = require "kong"
request({})
local settle = require "kong.plugins.llm-edge.settle"

local CONF = { __plugin_id = "id-1", limit = 5 }
local sockets = 0

--- The message with every record's reservations in their place.
local function whole(message, held)
  local at = 1
  for _, record in ipairs(message.records or {}) do
    if record.held_bytes then
      record.reservations = held:sub(at, at + record.held_bytes - 1)
      at, record.held_bytes = at + record.held_bytes, nil
    end
  end
  check.equal(at, #held + 1)
  return message
end

--- A server that answers each message as `answers` says, in turn; nil is a connection refused. Returns what happened.
local function server(answers)
  sockets = sockets + 1
  local socket = "/tmp/socket-" .. sockets
  local seen = { messages = {}, timers = {}, slept = 0, log = {}, now = 100 }
  request({})
  kong.configuration = { pluginservers = { { name = "other", socket = "/tmp/no" }, { name = "p", socket = socket } } }
  ngx.ERR = "error"
  ngx.now = function() return seen.now end
  ngx.sleep = function(seconds)
    seen.slept, seen.now = seen.slept + seconds, seen.now + seconds
  end
  ngx.log = function(_, ...) seen.log[#seen.log + 1] = table.concat({ ... }) end
  ngx.timer = { at = function(_, run, ...)
    seen.timers[#seen.timers + 1] = { run = run, args = { ... } }
    return true
  end }
  ngx.socket = { tcp = function()
    local answer
    return {
      settimeouts = function() end,
      connect = function(_, path)
        check.equal(path, "unix:" .. socket)
        answer = table.remove(answers, 1)
        return answer and true, not answer and "connection refused" or nil
      end,
      send = function(_, text)
        local argument = json.decode(text)[4][1]
        seen.messages[#seen.messages + 1] = whole(json.decode(argument[1]), argument[2])
        return #text
      end,
      receiveany = function() return answer end,
      setkeepalive = function() end,
      close = function() seen.closed = (seen.closed or 0) + 1 end,
    }
  end }
  function seen.fire()
    local timer = table.remove(seen.timers, 1)
    timer.run(false, unpack(timer.args))
  end
  return seen
end

local OK = '[1,0,null,{"unknown":[]}]'
local REPORT = { version = 1, status = 200 }
local FACTS = {
  request_id = "r-1", method = "POST", path = "/v1/chat/completions", address = "192.0.2.7",
  consumer = { id = "c-1", username = "ada", tags = { "gold" } }, credential = { id = "k-1", fingerprint = "f00d" },
  route = { id = "route-1", name = "llm" },
}

--- A request that is over: its own log phase and the entry of its plugin, with other members.
local function ended(fields, plugins)
  ngx.ctx.plugins = { log = plugins or { [0] = 4, { name = "llm-edge" }, {}, { name = "p" }, CONF } }
  ngx.ctx.KONG_PROCESSING_START, ngx.ctx.KONG_WAITING_TIME = 1000, 20
  ngx.var = { request_time = "0.250" }
  kong.ctx = { shared = { portcullis_facts = FACTS } }
  local entry = { mark = { plugin = "p", plugin_id = "id-1" }, batch = true, protocol = "openai-chat",
    reservations = "[1]" }
  for name, value in pairs(fields or {}) do
    entry[name] = value ~= "none" and value or nil
  end
  return { entry }
end

--- What a batch tells first, of a server that let none of the requests through.
local function unknown(...)
  return '[1,0,null,{"unknown":[' .. table.concat({ ... }, ",") .. "]}]"
end

check.case("tells in one message what ended meanwhile, by the ids of requests, and keeps Kong from its log phase", function()
  local seen = server({ OK })
  check.equal(settle.take_over(ended(), REPORT), true)
  check.equal(settle.take_over(ended(), { version = 1, status = 404 }, { code = "x" }), true)
  check.equal(#seen.timers, 1)
  seen.fire()
  check.equal(#seen.messages, 1)
  check.equal(json.encode(seen.messages[1].ended[1]),
    '{"plugins":["p","id-1"],"report":{"status":200,"version":1},"request":"r-1"}')
  check.equal(seen.messages[1].ended[2].report.status, 404)
  check.equal(seen.messages[1].ended[2].refusal.code, "x")
  check.equal(seen.messages[1].records, nil)
  local stub = ngx.ctx.plugins.log[3]
  check.equal(stub.name, "llm-edge")
  stub.handler:log({})
  check.equal(ngx.ctx.plugins.log[1].name, "llm-edge")
end)

check.case("has nothing to say of an entry that holds nothing", function()
  local seen = server({})
  check.equal(settle.take_over(ended({ reservations = "none" }), REPORT), true)
  check.equal(#seen.timers, 0)
  check.equal(ngx.ctx.plugins.log[3].name, "llm-edge")
end)

check.case("tells once of a request with several plugins, and when it was, where one of them watches", function()
  local seen = server({ OK })
  kong.configuration.pluginservers[3] = { name = "q", socket = kong.configuration.pluginservers[2].socket }
  kong.configuration.pluginservers[4] = { name = "r", socket = kong.configuration.pluginservers[2].socket }
  local entries = ended({ reservations = "none", observes = true }, {
    [0] = 6, { name = "r" }, {}, { name = "q" }, {}, { name = "p" }, CONF })
  entries[2] = { mark = { plugin = "q", plugin_id = "id-2" }, batch = true }
  entries[3] = { mark = { plugin = "r", plugin_id = "id-3" }, batch = true, reservations = "[2]" }
  check.equal(settle.take_over(entries, REPORT), true)
  seen.fire()
  check.equal(#seen.messages[1].ended, 1)
  local told = seen.messages[1].ended[1]
  check.equal(json.encode(told.plugins), '["p","id-1","r","id-3"]')
  check.equal(told.started_at, 1000)
  check.equal(told.duration, 250)
  check.equal(told.upstream, 20)
  for place = 1, 5, 2 do
    check.equal(ngx.ctx.plugins.log[place].name, "llm-edge")
  end
end)

check.case("leaves to Kong a request whose plugins are of two servers, or of which one settles otherwise", function()
  local seen = server({})
  kong.configuration.pluginservers[3] = { name = "q", socket = "/tmp/else" }
  local plugins = { [0] = 4, { name = "q" }, {}, { name = "p" }, CONF }
  local entries = ended({}, plugins)
  entries[2] = { mark = { plugin = "q", plugin_id = "id-2" }, batch = true }
  check.equal(settle.take_over(entries, REPORT), false)
  kong.configuration.pluginservers[3].socket = kong.configuration.pluginservers[2].socket
  entries[2].batch = nil
  check.equal(settle.take_over(entries, REPORT), false)
  check.equal(#seen.timers, 0)
  check.equal(plugins[1].name .. plugins[3].name, "qp")
  entries[2].batch = true
  check.equal(settle.take_over(entries, REPORT), true)
end)

check.case("tells everything to a server that did not let the request through, its config too", function()
  local seen = server({ unknown(2), OK })
  settle.take_over(ended(), REPORT)
  settle.take_over(ended({ reservations = "[2]" }), REPORT)
  seen.fire()
  check.equal(#seen.messages, 2)
  check.equal(#seen.messages[2].records, 1)
  check.equal(json.encode(seen.messages[2].records[1]),
    '{"plugin":"p","plugin_id":"id-1","protocol":"openai-chat","report":{"status":200,"version":1},"reservations":"[2]"}')
  check.equal(seen.messages[2].configs[1].plugin, "p")
  check.equal(json.decode(seen.messages[2].configs[1].config).limit, 5)
end)

check.case("tells each config but once in a message, and two of one plugin both", function()
  local seen = server({ unknown(1, 2, 3, 4), OK })
  local changed = { __plugin_id = "id-1", limit = 6 }
  for _, conf in ipairs({ CONF, CONF, changed, CONF }) do
    settle.take_over(ended({}, { [0] = 4, { name = "llm-edge" }, {}, { name = "p" }, conf }), REPORT)
  end
  seen.fire()
  check.equal(#seen.messages[2].records, 4)
  check.equal(#seen.messages[2].configs, 2)
  check.equal(json.decode(seen.messages[2].configs[1].config).limit, 5)
  check.equal(json.decode(seen.messages[2].configs[2].config).limit, 6)
end)

check.case("tells it what Kong's log data would, and what every plugin said, for a plugin that watches", function()
  local seen = server({ unknown(1), OK })
  kong.configuration.pluginservers[3] = { name = "q", socket = kong.configuration.pluginservers[2].socket }
  local entries = ended({ observes = true, verdicts = "[]" }, { [0] = 4, { name = "q" }, {}, { name = "p" }, CONF })
  entries[2] = { mark = { plugin = "q", plugin_id = "id-2" }, batch = true, reservations = "[2]",
    would_reject = { "insufficient_scope" }, rule = "llm:chat" }
  settle.take_over(entries, REPORT, { code = "x" })
  -- Whatever the worker's next request is.
  kong.ctx, ngx.var, ngx.ctx = { shared = {} }, {}, {}
  seen.fire()
  check.equal(#seen.messages[2].records, 2)
  check.equal(#seen.messages[2].configs, 2)
  check.equal(seen.messages[2].records[2].reservations, "[2]")
  check.equal(seen.messages[2].records[2].seen, nil)
  local told = seen.messages[2].records[1].seen
  check.equal(told.refusal.code, "x")
  check.equal(told.entries[1].reservations, nil)
  check.equal(told.entries[1].plugin, "p")
  check.equal(told.entries[1].verdicts, "[]")
  check.equal(told.entries[2].plugin, "q")
  check.equal(told.entries[2].reservations, "[2]")
  check.equal(told.entries[2].would_reject[1], "insufficient_scope")
  check.equal(told.entries[2].rule, "llm:chat")
  check.equal(json.encode(told.data), '{"authenticated_entity":{"id":"k-1"},"client_ip":"192.0.2.7",'
    .. '"consumer":{"id":"c-1","username":"ada"},"latencies":{"proxy":20,"request":250},'
    .. '"request":{"id":"r-1","method":"POST"},"response":{"status":200},'
    .. '"route":{"id":"route-1","name":"llm"},"started_at":1000,"upstream_uri":"/v1/chat/completions"}')
end)

check.case("tells a plugin that watches also of a request for which it holds nothing", function()
  local seen = server({ unknown(1), OK })
  settle.take_over(ended({ reservations = "none", observes = true }), REPORT)
  seen.fire()
  check.equal(seen.messages[2].records[1].reservations, nil)
  check.equal(seen.messages[2].records[1].seen.data.request.id, "r-1")
end)

check.case("tries again until the server is back, and says so once", function()
  local seen = server({ false, false, '[1,0,"not settled",null]', OK })
  settle.take_over(ended(), REPORT)
  seen.fire()
  check.equal(#seen.messages, 2)
  check.equal(#seen.log, 1)
  check.equal(seen.log[1], "cannot settle requests, trying again: connection refused")
end)

check.case("puts no connection back that may still bring an answer, and goes on after a fault", function()
  local seen = server({ "false", OK })
  settle.take_over(ended(), REPORT)
  seen.fire()
  check.equal(seen.closed, 1)
  local stopped = server({ OK })
  ngx.sleep = function() error("no sleep now") end
  settle.take_over(ended(), REPORT)
  stopped.fire()
  check.equal(stopped.log[1]:find("settling stopped", 1, true), 1)
  settle.take_over(ended(), REPORT)
  check.equal(#stopped.timers, 1)
end)

check.case("gives up after a minute, loudly, and goes on with what comes then", function()
  local answers = {}
  local seen = server(answers)
  settle.take_over(ended(), REPORT)
  seen.fire()
  check.equal(seen.slept > 60 and seen.slept < 70, true)
  check.equal(seen.log[#seen.log], "gave up settling 1 requests; what they reserved stays until its window ends")
  answers[1] = OK
  settle.take_over(ended(), REPORT)
  seen.fire()
  check.equal(#seen.messages, 1)
end)

check.case("leaves to Kong what another plugin may still add usage to, and what has no server", function()
  local ai = { [0] = 6, { name = "llm-edge" }, {}, { name = "p" }, CONF, { name = "ai-proxy" }, {} }
  local seen = server({})
  check.equal(settle.take_over(ended({}, ai), REPORT), false)
  check.equal(#seen.timers, 0)
  check.equal(ai[3].name, "p")
  local none = server({})
  kong.configuration = {}
  settle.take_over(ended(), REPORT)
  check.equal(#none.timers, 0)
  check.equal(ngx.ctx.plugins.log[3].name, "p")
end)

--- A request of two plugins that was refused because of the second, whose answer never came.
local function unheard(entry_keys)
  local entries = ended({}, { [0] = 6, { name = "llm-edge" }, {}, { name = "q" }, {}, { name = "p" }, CONF })
  local shared = kong.ctx.shared
  shared.portcullis_p = entries[1]
  settle.disown(shared, entry_keys or { p = "portcullis_p", q = "portcullis_q" })
  return entries
end

check.case("tells first of whom a refused request never heard, in the message that tells of its end", function()
  local seen = server({ OK, OK })
  kong.configuration.pluginservers[3] = { name = "q", socket = kong.configuration.pluginservers[2].socket }
  settle.take_over(ended(), REPORT)
  seen.fire()
  local entries = unheard()
  settle.take_over(entries, REPORT, { code = "policy_unavailable" })
  seen.fire()
  check.equal(#seen.messages, 2)
  check.equal(json.encode(seen.messages[2].unheard), '[{"plugins":["q"],"request":"r-1"}]')
  check.equal(#seen.messages[2].ended, 1)
  check.equal(seen.messages[2].ended[1].request, "r-1")
end)

check.case("tells of whom it never heard although nothing else ended, and again until the server is there", function()
  local seen = server({ OK, false, OK })
  settle.take_over(ended(), REPORT)
  seen.fire()
  kong.configuration.pluginservers[3] = { name = "q", socket = kong.configuration.pluginservers[2].socket }
  unheard()
  seen.fire()
  check.equal(#seen.messages, 2)
  check.equal(#seen.messages[2].ended, 0)
  check.equal(seen.messages[2].unheard[1].plugins[1], "q")
end)

check.case("tells a plugin that may watch of the end of a request that nobody decided on, and nothing that it said", function()
  local seen = server({ OK, unknown(1), OK })
  local socket = kong.configuration.pluginservers[2].socket
  kong.configuration.pluginservers[3] = { name = "llm-gateway", socket = socket }
  settle.take_over(ended(), REPORT)
  seen.fire()
  local log = { [0] = 4, { name = "p" }, CONF, { name = "llm-gateway" }, { __plugin_id = "id-2", limit = 7 } }
  local entries = ended({}, log)
  local shared = kong.ctx.shared
  shared.portcullis_p = entries[1]
  local watchers = settle.disown(shared, { p = "portcullis_p", ["llm-gateway"] = "portcullis_llm_gateway" })
  check.equal(#watchers, 1)
  entries[2] = watchers[1]
  check.equal(settle.take_over(entries, { version = 1, status = 503 }, { code = "policy_unavailable" }), true)
  check.equal(log[3].name, "llm-edge")
  seen.fire()
  check.equal(json.encode(seen.messages[2].unheard), '[{"plugins":["llm-gateway"],"request":"r-1"}]')
  check.equal(json.encode(seen.messages[2].ended[1].plugins), '["p","id-1","llm-gateway","id-2"]')
  local record = seen.messages[3].records[2]
  check.equal(record.plugin .. record.plugin_id, "llm-gatewayid-2")
  check.equal(record.reservations, nil)
  check.equal(#record.seen.entries, 1)
  check.equal(record.seen.entries[1].plugin, "p")
  check.equal(record.seen.refusal.code, "policy_unavailable")
  check.equal(record.seen.data.request.id, "r-1")
  check.equal(json.decode(seen.messages[3].configs[2].config).limit, 7)
end)

check.case("finds the record that a server does not know behind those that it is told of otherwise", function()
  local seen = server({ OK, unknown(1), OK })
  settle.take_over(ended(), REPORT)
  seen.fire()
  kong.configuration.pluginservers[3] = { name = "q", socket = kong.configuration.pluginservers[2].socket }
  unheard()
  settle.take_over(ended({ reservations = "[7]" }), REPORT)
  seen.fire()
  check.equal(#seen.messages[3].records, 1)
  check.equal(seen.messages[3].records[1].reservations, "[7]")
end)

check.case("says nothing of whom it never heard to a server that settles otherwise, nor of plugins of others", function()
  local seen = server({ OK })
  unheard()
  check.equal(#seen.timers, 0)
  settle.take_over(ended(), REPORT)
  seen.fire()
  unheard({ p = "portcullis_p" })
  check.equal(#seen.timers, 0)
end)

check.case("does not let what may hold nothing crowd out what does", function()
  local answers = {}
  for i = 1, 60 do
    answers[i] = OK
  end
  local seen = server(answers)
  kong.configuration.pluginservers[3] = { name = "q", socket = kong.configuration.pluginservers[2].socket }
  settle.take_over(ended(), REPORT)
  for _ = 1, 6000 do
    unheard()
  end
  check.equal(settle.take_over(ended(), REPORT), true)
  seen.fire()
  local told, ends = 0, 0
  for _, message in ipairs(seen.messages) do
    told, ends = told + #(message.unheard or {}), ends + #message.ended
  end
  check.equal(told, 4999)
  check.equal(ends, 2)
end)

check.case("sends many in messages of bounded size, and leaves what is too much to Kong", function()
  local answers = {}
  for i = 1, 60 do
    answers[i] = OK
  end
  local seen, plugins = server(answers), nil
  for _ = 1, 10001 do
    plugins = { [0] = 2, { name = "p" }, CONF }
    settle.take_over(ended({}, plugins), REPORT)
  end
  check.equal(plugins[1].name, "p")
  seen.fire()
  local records = 0
  for _, message in ipairs(seen.messages) do
    records = records + #message.ended
    check.equal(#message.ended <= 256, true)
  end
  check.equal(records, 10000)
end)

check.done()
