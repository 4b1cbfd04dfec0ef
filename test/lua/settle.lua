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
  for _, record in ipairs(message.records) do
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

--- A request that is over: its own log phase and its entry.
local function ended(fields, plugins)
  ngx.ctx.plugins = { log = plugins or { [0] = 4, { name = "llm-edge" }, {}, { name = "p" }, CONF } }
  return { mark = { plugin = "p", plugin_id = "id-1" }, batch = true, protocol = "openai-chat",
    reservations = fields and fields.reservations or "[1]", report = { status = 200 } }
end

check.case("settles in one message what ended meanwhile, and keeps Kong from its log phase", function()
  local seen = server({ OK })
  settle.take_over(ended())
  settle.take_over(ended({ reservations = "[2]" }))
  check.equal(#seen.timers, 1)
  seen.fire()
  check.equal(#seen.messages, 1)
  check.equal(json.encode(seen.messages[1].records[2]),
    '{"plugin":"p","plugin_id":"id-1","protocol":"openai-chat","report":{"status":200},"reservations":"[2]"}')
  check.equal(#seen.messages[1].configs, 0)
  local stub = ngx.ctx.plugins.log[3]
  check.equal(stub.name, "llm-edge")
  stub.handler:log({})
  check.equal(ngx.ctx.plugins.log[1].name, "llm-edge")
end)

check.case("has nothing to say of an entry that holds nothing", function()
  local seen = server({})
  local empty = ended()
  empty.reservations = nil
  settle.take_over(empty)
  check.equal(#seen.timers, 0)
  check.equal(ngx.ctx.plugins.log[3].name, "llm-edge")
end)

check.case("tells a plugin that watches what Kong's log data would, and what every plugin said", function()
  local seen = server({ OK })
  kong.ctx = { shared = { portcullis_facts = {
    request_id = "r-1", method = "POST", path = "/v1/chat/completions", address = "192.0.2.7",
    consumer = { id = "c-1", username = "ada", tags = { "gold" } }, credential = { id = "k-1", fingerprint = "f00d" },
    route = { id = "route-1", name = "llm" },
  } } }
  ngx.var = { request_time = "0.250" }
  local entry = ended()
  ngx.ctx.KONG_PROCESSING_START, ngx.ctx.KONG_WAITING_TIME = 1000, 20
  entry.observes = true
  settle.take_over(entry, { version = 1, report = entry.report, entries = {
    { plugin = "p", protocol = "openai-chat", reservations = "[1]", verdicts = "[]" },
    { plugin = "other", reservations = "[2]", would_reject = { "insufficient_scope" } },
  } })
  seen.fire()
  local told = seen.messages[1].records[1].seen
  check.equal(told.entries[1].reservations, nil)
  check.equal(told.entries[1].verdicts, "[]")
  check.equal(told.entries[2].reservations, "[2]")
  check.equal(told.entries[2].would_reject[1], "insufficient_scope")
  check.equal(json.encode(told.data), '{"authenticated_entity":{"id":"k-1"},"client_ip":"192.0.2.7",'
    .. '"consumer":{"id":"c-1","username":"ada"},"latencies":{"proxy":20,"request":250},'
    .. '"request":{"id":"r-1","method":"POST"},"response":{"status":200},'
    .. '"route":{"id":"route-1","name":"llm"},"started_at":1000,"upstream_uri":"/v1/chat/completions"}')
  check.equal(ngx.ctx.plugins.log[3].name, "llm-edge")
end)

check.case("tells a plugin that watches also of a request for which it holds nothing", function()
  local seen = server({ OK })
  kong.ctx, ngx.var = { shared = { portcullis_facts = { request_id = "r-1" } } }, { request_time = "0.001" }
  local entry = ended()
  ngx.ctx.KONG_PROCESSING_START = 1000
  entry.reservations, entry.observes = nil, true
  settle.take_over(entry, { version = 1, report = entry.report, entries = { { plugin = "p" } } })
  seen.fire()
  check.equal(seen.messages[1].records[1].reservations, nil)
  check.equal(seen.messages[1].records[1].seen.data.request.id, "r-1")
end)

check.case("tells a server that was started since the config of what it does not know", function()
  local seen = server({ '[1,0,null,{"unknown":[2]}]', OK })
  settle.take_over(ended())
  settle.take_over(ended({ reservations = "[2]" }))
  seen.fire()
  check.equal(#seen.messages, 2)
  check.equal(#seen.messages[2].records, 1)
  check.equal(seen.messages[2].records[1].reservations, "[2]")
  check.equal(seen.messages[2].configs[1].plugin, "p")
  check.equal(json.decode(seen.messages[2].configs[1].config).limit, 5)
end)

check.case("tries again until the server is back, and says so once", function()
  local seen = server({ false, false, '[1,0,"not settled",null]', OK })
  settle.take_over(ended())
  seen.fire()
  check.equal(#seen.messages, 2)
  check.equal(#seen.log, 1)
  check.equal(seen.log[1], "cannot settle requests, trying again: connection refused")
end)

check.case("puts no connection back that may still bring an answer, and goes on after a fault", function()
  local seen = server({ "false", OK })
  settle.take_over(ended())
  seen.fire()
  check.equal(seen.closed, 1)
  local stopped = server({ OK })
  ngx.sleep = function() error("no sleep now") end
  settle.take_over(ended())
  stopped.fire()
  check.equal(stopped.log[1]:find("settling stopped", 1, true), 1)
  settle.take_over(ended())
  check.equal(#stopped.timers, 1)
end)

check.case("gives up after a minute, loudly, and goes on with what comes then", function()
  local answers = {}
  local seen = server(answers)
  settle.take_over(ended())
  seen.fire()
  check.equal(seen.slept > 60 and seen.slept < 70, true)
  check.equal(seen.log[#seen.log], "gave up settling 1 requests; what they reserved stays until its window ends")
  answers[1] = OK
  settle.take_over(ended())
  seen.fire()
  check.equal(#seen.messages, 1)
end)

check.case("leaves to Kong what another plugin may still add usage to, and what has no server", function()
  local ai = { [0] = 6, { name = "llm-edge" }, {}, { name = "p" }, CONF, { name = "ai-proxy" }, {} }
  local seen = server({})
  settle.take_over(ended({}, ai))
  check.equal(#seen.timers, 0)
  check.equal(ai[3].name, "p")
  local none = server({})
  kong.configuration = {}
  settle.take_over(ended())
  check.equal(#none.timers, 0)
  check.equal(ngx.ctx.plugins.log[3].name, "p")
end)

check.case("sends many in messages of bounded size, and leaves what is too much to Kong", function()
  local answers = {}
  for i = 1, 60 do
    answers[i] = OK
  end
  local seen, plugins = server(answers), nil
  for _ = 1, 10001 do
    plugins = { [0] = 2, { name = "p" }, CONF }
    settle.take_over(ended({}, plugins))
  end
  check.equal(plugins[1].name, "p")
  seen.fire()
  local records = 0
  for _, message in ipairs(seen.messages) do
    records = records + #message.records
    check.equal(#message.records <= 256, true)
  end
  check.equal(records, 10000)
end)

check.done()
