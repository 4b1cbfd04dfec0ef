--- llm-edge's access phase in one message: what is asked, what is done with the answer, and when Kong's own way is taken.

local check = require "check"
local json = require "json"
local loop = require "loop"
local msgpack = require "msgpack"
local request = require "kong"
package.preload["MessagePack"] = function() return msgpack end
package.preload["kong.runloop.plugin_servers.rpc.util"] = function()
  return { index_table = function(api, name)
    local found = api[name]
    for part in (found and "" or name):gmatch("%w[%w_]*") do
      found = (found or api)[part]
      if found == nil then
        return nil
      end
    end
    return found
  end }
end
request({})
loop.install()
local llm_edge = require "kong.plugins.llm-edge.handler"
local direct = require "kong.plugins.llm-edge.direct"

local EDGE = { direct = true, max_body_bytes = 10000000, refuse_upgrade = true }
local CONF = { limit = 5, __plugin_id = "id-1" }
local ENTRY = { version = 1, mark = { plugin = "llm-token-limit", plugin_id = "id-1" }, batch = true }
local INSTANCE = 4294967301
local sockets = 0

--- One function for all requests, as Kong's are, which does it to the one in place.
local function in_place(path)
  return function(...)
    local found = _G
    for part in path:gmatch("[%w_]+") do
      found = found[part]
    end
    return found(...)
  end
end

local function api_of(names)
  local api = {}
  for _, name in ipairs(names) do
    local group, member = name:match("^(.*)%.([%w_]+)$")
    local at = api
    for part in group:gmatch("[%w_]+") do
      at[part] = at[part] or {}
      at = at[part]
    end
    at[member] = in_place(name)
  end
  api["kong.ctx.shared.set"] = function(key, value) kong.ctx.shared[key] = value end
  return api
end

local API = api_of({
  "kong.request.get_raw_body", "kong.request.get_method", "kong.request.get_header", "kong.request.get_query",
  "kong.service.request.set_headers", "kong.response.exit",
})

--- What Kong has of a plugin of the pack, `change` being what this Kong has otherwise. Its own way leaves `scene.entry`.
local function plugin_of(scene, name, change)
  local plugin = {
    name = name,
    server_def = { socket = scene.socket, protocol = "MsgPack:1" },
    instance_callbacks = { get_instance_id = function(_, conf)
      check.equal(conf, CONF)
      return scene.instance
    end },
    exposed_api = API,
    access = function(_, conf)
      check.equal(conf, CONF)
      scene.own_way = scene.own_way + 1
      scene.own_facts = json.decode(json.encode(kong.ctx.shared.portcullis_facts or {}))
      kong.ctx.shared["portcullis_" .. name:gsub("-", "_")] = scene.entry
    end,
  }
  for key, value in pairs(change or {}) do
    plugin[key] = value
  end
  return plugin
end

--- A worker with one plugin of the pack, which Kong has loaded from the server at a socket of its own.
local function worker(name, change)
  name = name or "llm-token-limit"
  request({})
  local scene = loop.install()
  sockets = sockets + 1
  scene.socket, scene.own_way, scene.instance, scene.entry = "/tmp/direct-" .. sockets, 0, INSTANCE, ENTRY
  local plugin

  --- Puts a request in place, through llm-edge.
  function scene.take(fields, conf)
    scene.seen = request(fields or {})
    loop.attach()
    kong.configuration = {}
    kong.db.plugins = { get_handlers = function()
      return {
        { name = "key-auth", handler = { access = function() end } },
        { name = "other-external", handler = plugin_of(scene, "other-external") },
        { name = name, handler = plugin },
      }
    end }
    kong.response.exit = function(status, body, headers)
      scene.seen.exit = { status = status, body = json.decode(body), headers = headers }
      -- Kong never comes back from it.
      loop.leave()
    end
    kong.service.request.set_raw_body = function(body) scene.seen.new_body = body end
    kong.service.request.set_headers = function(headers) scene.seen.new_headers = headers end
    kong.request = { get_raw_body = function() return fields.body end, get_method = function() return "POST" end }
    llm_edge:access(conf or EDGE)
  end

  --- Runs the plugin's access phase for the request in place.
  function scene.run()
    scene.asked = loop.request(plugin.access, plugin, CONF)
    loop.run()
    return scene.asked
  end

  --- The last message of the newest connection.
  function scene.message()
    local all = msgpack.requests(scene.peers[#scene.peers]:received())
    return all[#all]
  end

  function scene.answer(text, following)
    scene.peers[#scene.peers]:deliver(msgpack.answer(scene.message().id, text, following))
    loop.run()
  end

  --- A request goes Kong's own way, which tells whether the server takes the other one.
  function scene.get_ready()
    scene.take()
    scene.run()
    check.equal(scene.own_way, 1)
    check.equal(#scene.peers, 0)
    scene.own_way = 0
  end

  plugin = plugin_of(scene, name, change)
  direct.installed = false
  scene.take({})
  llm_edge.init_worker()
  return scene
end

local function passed(scene)
  check.equal(scene.asked.ended, true)
  check.equal(scene.seen.exit, nil)
  check.equal(#scene.seen.logs, 0)
end

local function refused(scene, why)
  check.equal(scene.seen.exit and scene.seen.exit.status, 503)
  check.equal(scene.seen.exit.body.error.code, "policy_unavailable")
  check.equal(kong.ctx.shared.portcullis_refusal.plugin, "llm-token-limit")
  check.equal(scene.seen.logs[1]:find(why, 1, true) ~= nil, true, scene.seen.logs[1])
end

local SET = ' {"calls":[["kong.ctx.shared.set","portcullis_llm_token_limit",{"version":1,"batch":true}]]} '

check.case("asks in one message of three parts, and does what the answer says", function()
  local scene = worker()
  scene.get_ready()
  scene.take({ body = '{"a":1}', headers = { ["content-type"] = "application/json" }, consumer = { id = "c-1" } })
  local asked = scene.run()
  check.equal(asked.ended, nil)
  check.equal(#scene.peers[1].sent, 1)
  local message = scene.message()
  check.equal(message.method, "portcullis.Access")
  check.equal(message.argument[1], tostring("4294967301"))
  check.equal(message.argument[3], '{"a":1}')
  local sent = json.decode(message.argument[2])
  check.equal(#sent.facts, 3)
  check.equal(sent.facts[1].request_id, "req-1")
  check.equal(sent.facts[2].body_in, "base64")
  check.equal(sent.facts[2].body_base64, nil)
  check.equal(sent.facts[3].consumer.id, "c-1")
  check.equal(json.encode(sent.earlier), "{}")
  scene.answer(SET)
  passed(scene)
  check.equal(kong.ctx.shared.portcullis_llm_token_limit.version, 1)
  check.equal(scene.own_way, 0)
end)

check.case("tells a server but once of a request, and again where it has forgotten", function()
  local scene = worker()
  scene.get_ready()
  scene.take({ body = '{"a":1}' })
  scene.run()
  scene.answer(SET)
  passed(scene)
  scene.run()
  local again = scene.message()
  check.equal(again.argument[2], '{"same":"req-1","earlier":{},"taps":""}')
  check.equal(again.argument[3], nil)
  scene.answer('{"error":"facts that are not here","calls":[]}')
  check.equal(scene.message().argument[3], '{"a":1}')
  check.equal(json.decode(scene.message().argument[2]).facts[1].request_id, "req-1")
  scene.answer(SET)
  passed(scene)
  check.equal(scene.own_way, 0)
  scene.take({})
  scene.run()
  check.equal(json.decode(scene.message().argument[2]).same, nil)
end)

check.case("sends no body where there is none, and none that is too large to be packed", function()
  for _, fields in ipairs({ {}, { body = ("x"):rep(65537) } }) do
    local scene = worker()
    scene.get_ready()
    scene.take(fields)
    scene.run()
    check.equal(scene.message().argument[3], nil)
    scene.answer(SET)
    passed(scene)
  end
end)

check.case("sends what earlier plugins found out, and nothing else of their entries", function()
  local scene = worker()
  scene.get_ready()
  scene.take({})
  kong.ctx.shared.portcullis_llm_api_key = { identity = '{"id":"ada"}', reservations = "[1]" }
  kong.ctx.shared.portcullis_llm_scope = { claims = '{"sub":"s"}', mark = {} }
  kong.ctx.shared.portcullis_llm_gateway = { mark = {} }
  scene.run()
  local earlier = json.decode(scene.message().argument[2]).earlier
  check.equal(json.encode(earlier), json.encode({
    portcullis_llm_api_key = { identity = '{"id":"ada"}' }, portcullis_llm_scope = { claims = '{"sub":"s"}' },
  }))
end)

check.case("does calls in their order, with a new body's bytes from behind the text", function()
  local scene = worker()
  scene.get_ready()
  scene.take({ body = "old" })
  scene.run()
  scene.answer('{"calls":[["kong.service.request.set_raw_body",{"bytes":5}],["kong.service.request.set_headers",{"x":"1"}],'
    .. '["kong.ctx.shared.set","portcullis_llm_token_limit",{"version":1}]]}', "new\0\255")
  passed(scene)
  check.equal(scene.seen.new_body, "new\0\255")
  check.equal(scene.seen.new_headers.x, "1")
  check.equal(kong.ctx.shared.portcullis_llm_token_limit.version, 1)
end)

check.case("the text of a tap comes once, reservations from behind the answer, and both are in the entry", function()
  local scene = worker()
  scene.get_ready()
  local function decided(entry, following)
    scene.take({})
    scene.run()
    local told = json.decode(scene.message().argument[2]).taps
    scene.answer('{"calls":[["kong.ctx.shared.set","portcullis_llm_token_limit",' .. entry .. "]]}", following)
    return told, kong.ctx.shared.portcullis_llm_token_limit
  end
  local told, entry = decided('{"tap":"{}","tap_id":"first"}')
  check.equal(told, "")
  check.equal(entry.tap .. tostring(entry.tap_id), "{}nil")
  told, entry = decided('{"tap_id":"first","reservations":{"bytes":3}}', "[1]")
  check.equal(told, " first")
  check.equal(entry.tap .. tostring(entry.tap_id) .. entry.reservations, "{}nil[1]")
  passed(scene)
  decided('{"tap_id":"second"}')
  refused(scene, "a tap that nobody told of")
end)

check.case("a refusal of the plugin ends the request, and nothing behind it is done", function()
  local scene = worker()
  scene.get_ready()
  scene.take({})
  scene.run()
  scene.answer('{"calls":[["kong.response.exit",429,"{\\"error\\":{}}",{"retry-after":"1"}],'
    .. '["kong.ctx.shared.set","portcullis_llm_token_limit",{"version":1}]]}')
  check.equal(scene.seen.exit.status, 429)
  check.equal(scene.seen.exit.headers["retry-after"], "1")
  check.equal(kong.ctx.shared.portcullis_llm_token_limit, nil)
  check.equal(kong.ctx.shared.portcullis_refusal, nil)
end)

check.case("answers with an event go on in steps: bytes for a body, text otherwise, an error by its name", function()
  local scene = worker()
  scene.get_ready()
  scene.take({ body = ("x"):rep(65537) })
  kong.request.get_header = function() return nil, "no such header" end
  kong.request.get_query = function() return nil end
  scene.run()
  local function step(call, method, data)
    scene.answer('{"event":9007199254740990,"calls":[["kong.request.' .. call .. '",1000000]]}')
    local message = scene.message()
    check.equal(message.method, method)
    check.equal(message.argument.EventId, 9007199254740990)
    check.equal(message.argument.Data, data)
  end
  step("get_raw_body", "portcullis.Step", ("x"):rep(65537))
  check.equal(scene.peers[1]:received():find("\198\0\1\0\1xxx") ~= nil, true, "as a binary")
  step("get_method", "portcullis.Step", "POST")
  check.equal(scene.peers[1]:received():find("\164Data\164POST", 1, true) ~= nil, true, "as a text")
  step("get_header", "portcullis.StepError", "no such header")
  step("get_query", "portcullis.Step", nil)
  scene.answer(SET)
  passed(scene)
  check.equal(#scene.peers, 1)
end)

check.case("an event without an end is a refusal", function()
  local scene = worker()
  scene.get_ready()
  scene.take({})
  scene.run()
  local steps = 0
  while not scene.seen.exit and steps < 1000 do
    scene.answer('{"event":1,"calls":[["kong.request.get_method"]]}')
    steps = steps + 1
  end
  check.equal(steps, 100)
  refused(scene, "an event without an end")
end)

check.case("an answer that cannot be followed is a refusal", function()
  for _, answer in ipairs({
    "no JSON", "", "[]", "null", "5", '{"calls":5}', '{"calls":[5]}', '{"calls":[[]]}', '{"calls":[["kong.nobody.knows"]]}',
    '{"calls":[["os.execute","true"]]}', '{"calls":[["kong.ctx.shared.set","portcullis_llm_token_limit",{}],["kong.no"]]}',
  }) do
    local scene = worker()
    scene.get_ready()
    scene.take({})
    scene.run()
    scene.answer(answer)
    refused(scene, "")
    check.equal(scene.own_way, 0)
    -- And the next request looks again what server it is.
    scene.take({})
    scene.run()
    check.equal(scene.own_way, 1)
    check.equal(#scene.peers, 1)
  end
end)

check.case("a fault of Kong's own function is a refusal", function()
  local scene = worker()
  scene.get_ready()
  scene.take({})
  kong.service.request.set_headers = function() error("no such phase") end
  scene.run()
  scene.answer('{"calls":[["kong.service.request.set_headers",{}]]}')
  refused(scene, "no such phase")
end)

check.case("a server that is gone, late or lost is a refusal; then Kong's own way, until it says that it is there", function()
  local function lose(how, why)
    local scene = worker()
    scene.get_ready()
    scene.take({})
    how(scene)
    refused(scene, why)
    check.equal(scene.own_way, 0)
    scene.refuse, scene.entry = nil, nil
    for turn = 1, 2 do
      local before = #scene.peers
      scene.take({ body = "abc" })
      scene.run()
      check.equal(scene.own_way, turn)
      check.equal(#scene.peers, before)
      check.equal(scene.own_facts.body_base64, "base64(abc)")
    end
    scene.entry = ENTRY
    scene.take({})
    scene.run()
    scene.take({})
    scene.run()
    check.equal(scene.own_way, 3)
    check.equal(scene.message().method, "portcullis.Access")
    scene.answer(SET)
    passed(scene)
  end
  lose(function(scene)
    scene.refuse = "connection refused"
    scene.run()
  end, "connection refused")
  lose(function(scene)
    scene.run()
    loop.run(2.1)
  end, "no answer in time")
  lose(function(scene)
    scene.run()
    scene.peers[1]:close()
    loop.run()
  end, "closed")
  lose(function(scene)
    scene.run()
    scene.peers[1]:deliver("\148\1\196" .. ("x"):rep(50))
    loop.run()
  end, "not an answer")
end)

check.case("a server that has begun nothing is asked again in Kong's own way, within the same request", function()
  local scene = worker()
  scene.get_ready()
  scene.take({ body = "abc" })
  scene.run()
  scene.answer('{"error":"no plugin instance #4294967301","calls":[]}')
  passed(scene)
  check.equal(scene.own_way, 1)
  check.equal(scene.own_facts.body_base64, "base64(abc)")
  check.equal(scene.own_facts.filler:find("[^ ]"), nil)
  check.equal(kong.ctx.shared.portcullis_llm_token_limit, ENTRY)
  -- Its entry says that this server takes it.
  scene.take({})
  scene.run()
  check.equal(#msgpack.requests(scene.peers[1]:received()), 2)
end)

check.case("Kong's own way where the server has not said that it takes the other one", function()
  for _, entry in ipairs({ { mark = ENTRY.mark }, false, "text" }) do
    local scene = worker()
    scene.entry = entry or nil
    for turn = 1, 3 do
      scene.take({})
      scene.run()
      check.equal(scene.own_way, turn)
    end
    check.equal(#scene.peers, 0)
  end
end)

check.case("what one server says holds for its own socket", function()
  local first = worker()
  first.get_ready()
  local second = worker()
  second.take({})
  second.run()
  check.equal(second.own_way, 1)
  check.equal(#second.peers, 0)
end)

check.case("Kong's own way for facts that somebody else put there, or took away", function()
  for _, facts in ipairs({ { request_id = "forged" }, false }) do
    local scene = worker()
    scene.get_ready()
    scene.take({ body = "abc" })
    kong.ctx.shared.portcullis_facts = facts or nil
    scene.run()
    check.equal(scene.own_way, 1)
    check.equal(#scene.peers, 0)
    check.equal(scene.own_facts.request_id, facts and "forged" or nil)
    check.equal(scene.own_facts.body_base64, nil)
  end
end)

check.case("Kong's own way where llm-edge did not run, or is told to leave it", function()
  local scene = worker()
  scene.get_ready()
  scene.take({ body = "abc" }, { direct = false, max_body_bytes = 1000, refuse_upgrade = true })
  check.equal(kong.ctx.shared.portcullis_facts.body_base64, "base64(abc)")
  scene.run()
  check.equal(scene.own_way, 1)
  scene.take({})
  ngx.ctx.portcullis_request = nil
  scene.run()
  check.equal(scene.own_way, 2)
  check.equal(#scene.peers, 0)
end)

check.case("Kong's own way without an instance, and a fault in starting one stays Kong's", function()
  local scene = worker()
  scene.get_ready()
  scene.instance = nil
  scene.take({})
  scene.run()
  check.equal(scene.own_way, 1)
  local faulty = worker("llm-token-limit", { instance_callbacks = { get_instance_id = function() error("starting") end } })
  faulty.get_ready()
  faulty.take({})
  local ok, fault = pcall(faulty.run)
  check.equal(ok, false)
  check.equal(fault:find("starting", 1, true) ~= nil, true)
  check.equal(faulty.own_way, 0)
end)

check.case("is not laid over plugins that are not the pack's, or of a Kong that is made otherwise", function()
  local function bare(name, change)
    local scene = worker(name, change)
    check.equal(direct.installed, false)
    scene.take({ body = "abc" })
    check.equal(kong.ctx.shared.portcullis_facts.body_base64, "base64(abc)")
    check.equal(ngx.ctx.portcullis_request, nil)
  end
  bare("llm-other")
  bare("llm-token-limit", { server_def = { socket = "/tmp/s", protocol = "ProtoBuf:1" } })
  bare("llm-token-limit", { server_def = false })
  bare("llm-token-limit", { exposed_api = false })
  bare("llm-token-limit", { instance_callbacks = false })
  bare("llm-token-limit", { access = false })
  for _, name in ipairs({ "llm-audit-log", "llm-api-key", "llm-scope", "llm-gateway", "llm-token-limit" }) do
    worker(name)
    check.equal(direct.installed, true)
  end
end)

check.done()
