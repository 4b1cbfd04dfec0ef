--- Runs llm-edge's access phase in one message over cases from standard input, one JSON object a line: `{facts, body,
-- earlier, instance, asks, answers, told}`. `body` and `answers` are in hexadecimal, an answer being all bytes of it; `asks`
-- is what Kong's functions return, and `told` that the server heard of the request before. Prints `{sent, shared, exit,
-- body}` for each: every write, and what became of the request.

local json = require "json"
local loop = require "loop"
local msgpack = require "msgpack"
local request = require "kong"
package.preload["MessagePack"] = function() return msgpack end
local case, seen
package.preload["kong.runloop.plugin_servers.rpc.util"] = function()
  return { index_table = function(api, name)
    return api[name] or name:find("^kong%.request%.") and function() return case.asks[name] end
  end }
end
request({})
loop.install()
local direct = require "kong.plugins.llm-edge.direct"

local function from_hex(text)
  return text and (text:gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

local function to_hex(text)
  return text and (text:gsub(".", function(char)
    return ("%02x"):format(char:byte())
  end))
end

--- As facts.lua cuts them.
local function pieces_of(facts)
  local pieces = { seen = {}, known = {} }
  for name, value in pairs(facts) do
    local entity = name == "consumer" or name == "credential" or name == "route" or name == "service"
    if name ~= "request_id" then
      pieces[entity and "known" or "seen"][name] = value
    end
  end
  return json.encode(pieces.seen), json.encode(pieces.known)
end

local plugin = {
  server_def = { socket = "/tmp/direct", protocol = "MsgPack:1" },
  name = "llm-token-limit",
  instance_callbacks = { get_instance_id = function() return case.instance end },
  exposed_api = {
    ["kong.ctx.shared.set"] = function(key, value) kong.ctx.shared[key] = value end,
    ["kong.service.request.set_headers"] = function(headers) seen.new_headers = headers end,
    ["kong.response.exit"] = function(status)
      seen.exit = status
      loop.leave()
    end,
  },
  access = function() kong.ctx.shared.portcullis_llm_token_limit = { batch = true } end,
}

for line in io.lines() do
  case = json.decode(line)
  local earlier = case.earlier
  seen = request({ shared = earlier })
  local scene = loop.install()
  kong.configuration, kong.db.plugins = {}, { get_handlers = function()
    return { { name = plugin.name, handler = plugin } }
  end }
  if not direct.installed then
    direct.install()
    loop.request(plugin.access, plugin, {})
    loop.run()
    kong.ctx.shared.portcullis_llm_token_limit = nil
  end
  kong.ctx.shared.portcullis_facts = case.facts
  kong.service.request.set_raw_body = function(body) seen.new_body = body end
  local seen_json, known_json = pieces_of(case.facts)
  ngx.ctx.portcullis_request = { facts = case.facts, body = from_hex(case.body), seen = seen_json, known = known_json,
    told = case.told and plugin.server_def.socket or nil }
  loop.request(plugin.access, plugin, {})
  loop.run()
  for _, answer in ipairs(case.answers) do
    scene.peers[#scene.peers]:deliver(from_hex(answer))
    loop.run()
  end
  local sent = {}
  for i, text in ipairs(scene.peers[1] and scene.peers[1].sent or {}) do
    sent[i] = to_hex(text)
  end
  kong.ctx.shared.portcullis_facts = nil
  print(json.encode({
    sent = sent, shared = kong.ctx.shared, exit = seen.exit, body = to_hex(seen.new_body), headers = seen.new_headers,
  }))
  -- The next case gets a connection of its own.
  for _, peer in ipairs(scene.peers) do
    peer:close()
  end
  loop.run(1)
end
