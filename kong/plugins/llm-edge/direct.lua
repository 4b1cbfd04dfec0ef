--- Runs the access phase of the pack's plugins in one message, where Kong's own way takes three: what the plugin reads
-- goes with the event, and what it wants done comes back in one answer (`DirectAnswer` of plugins/kong/server/direct-event.ts).

local channel = require "kong.plugins.llm-edge.channel"
local cjson = require "cjson.safe"
local complain = require "kong.plugins.llm-edge.complain"
local msgpack = require "MessagePack"
local refuse = require "kong.plugins.llm-edge.refuse"

--- The pack's plugins, and where each leaves its entry.
local OURS = {
  ["llm-audit-log"] = "portcullis_llm_audit_log", ["llm-api-key"] = "portcullis_llm_api_key",
  ["llm-scope"] = "portcullis_llm_scope", ["llm-gateway"] = "portcullis_llm_gateway",
  ["llm-token-limit"] = "portcullis_llm_token_limit",
}
--- What an earlier plugin found out: `withEarlier` of plugins/kong/adapter/access.ts.
local EARLIER = { "portcullis_llm_api_key", "portcullis_llm_scope", "portcullis_llm_gateway" }
local METHOD = "\177portcullis.Access\145\147\219"
local START, AND_SEEN, AND_EARLIER = '{"facts":[{"request_id":', "},", '],"earlier":{'
local SAME_START, SAME_EARLIER = '{"same":', ',"earlier":{'
local AND_TAPS, FINISH = '},"taps":"', '"}'
local MAX_STEPS, MAX_TAPS = 100, 50
local FILLERS, turn = {}, 0
for i = 0, 63 do
  FILLERS[i] = (" "):rep(i)
end
local packed_number = channel.packed_number

local _M = { installed = false, ENTRY_OF = OURS, ENTRIES = {} }
for _, key in pairs(OURS) do
  _M.ENTRIES[#_M.ENTRIES + 1] = key
end
--- By socket: that the server there said it takes what llm-edge sends it. The stock one does not.
local ready = {}
--- Texts of taps by their ids, so that each comes once: a route has few, and each is longer than all the rest of an entry.
local taps, tap_count, tap_ids = {}, 0, ""
--- Kong's functions by the names that its plugin servers have for them.
local functions = {}

--- What plugins read of the entries before theirs, as members of an object.
local function earlier_of(shared)
  local text
  for _, key in ipairs(EARLIER) do
    local entry = shared[key]
    if type(entry) == "table" and (entry.claims or entry.identity) then
      text = (text and text .. "," or "") .. '"' .. key .. '":'
        .. assert(cjson.encode({ claims = entry.claims, identity = entry.identity }))
    end
  end
  return text or ""
end

--- One argument of three parts: the instance, the JSON of `DirectRequest`, the body. Of a request that the server was told
-- before, for another plugin, only the id.
local function event_message(instance, shared, request, same)
  local id, seen, known = cjson.encode(request.facts.request_id), request.seen, request.known
  local earlier, body = earlier_of(shared), request.body
  if same then
    local size = #SAME_START + #id + #SAME_EARLIER + #earlier + #AND_TAPS + #tap_ids + #FINISH
    return {
      METHOD, packed_number(#instance), instance,
      "\219", packed_number(size), SAME_START, id, SAME_EARLIER, earlier, AND_TAPS, tap_ids, FINISH, "\192",
    }
  end
  local size = #START + #id + #AND_SEEN + #seen + 1 + #known + #AND_EARLIER + #earlier + #AND_TAPS + #tap_ids + #FINISH
  return {
    METHOD, packed_number(#instance), instance,
    "\219", packed_number(size), START, id, AND_SEEN, seen, ",", known, AND_EARLIER, earlier, AND_TAPS, tap_ids, FINISH,
    body and "\198" .. packed_number(#body) or "\192", body or "",
  }
end

--- Of the last call of an answer: what Kong itself would send back, which is bytes for a body. By a name of its own, since
-- it may be the first message of a connection, which tells the server how to read all others there.
local function step_message(event, name, result, err)
  local method = "portcullis.Step"
  if not result and err then
    method, result = "portcullis.StepError", err
  end
  local bytes = name == "kong.request.get_raw_body" and result
  local data = bytes and function(buffer) msgpack.packers.binary(buffer, bytes) end or result
  return { msgpack.pack(method), msgpack.pack({ { EventId = event, Data = data } }) }
end

local function function_of(plugin, name)
  if not functions[name] then
    functions[name] = require("kong.runloop.plugin_servers.rpc.util").index_table(plugin.exposed_api, name)
  end
  return assert(functions[name], "a call that Kong does not know")
end

--- Puts the text of a tap in the place of its id, or remembers it by that.
local function resolve_tap(entry)
  local id = entry.tap_id
  if not entry.tap then
    entry.tap = assert(taps[id], "a tap that nobody told of")
  elseif not taps[id] and tap_count < MAX_TAPS then
    taps[id], tap_count, tap_ids = entry.tap, tap_count + 1, tap_ids .. " " .. id
  end
  entry.tap_id = nil
end

--- The next of the bytes behind an answer, and where those after it begin.
local function next_part(bytes, at, part)
  local after = at + part.bytes
  return (at == 1 and after == #bytes + 1) and bytes or bytes:sub(at, after - 1), after
end

--- Does what the answer says, of whose bytes the calls take one part after the other. Returns the name of its last call and
-- that one's result.
local function follow(plugin, answer, bytes)
  local at, name, result, err = 1, nil, nil, nil
  for _, call in ipairs(answer.calls) do
    local entry = call[3]
    name = call[1]
    if type(entry) == "table" and entry.tap_id then
      resolve_tap(entry)
    end
    if type(entry) == "table" and entry.reservations then
      entry.reservations, at = next_part(bytes, at, entry.reservations)
    end
    if name == "kong.service.request.set_raw_body" then
      local body
      body, at = next_part(bytes, at, call[2])
      result, err = kong.service.request.set_raw_body(body)
    elseif name == "kong.log.err" then
      complain(plugin.name, call[2])
    else
      result, err = function_of(plugin, name)(unpack(call, 2))
    end
  end
  return name, result, err
end

--- Returns nothing once the plugin has decided; otherwise what went wrong, and whether the server has begun nothing.
local function decide(plugin, message)
  local socket = plugin.server_def.socket
  for _ = 1, MAX_STEPS do
    local text, bytes = channel.exchange(socket, message)
    if not text then
      return bytes or "no answer"
    end
    -- Space around it only varies what LuaJIT hashes it by.
    local answer = assert(cjson.decode(text))
    local name, result, err = follow(plugin, answer, bytes)
    if not answer.event then
      return answer.error, true
    end
    message = step_message(answer.event, name, result, err)
  end
  return "an event without an end"
end

--- Kong's own way, for which the facts need to be whole.
local function through_kong(plugin, conf, original)
  local request = ngx.ctx.portcullis_request
  if request then
    _M.complete(request.facts, request.body)
  end
  original(plugin, conf)
  local entry = kong.ctx.shared[OURS[plugin.name]]
  if type(entry) == "table" and entry.batch then
    ready[plugin.server_def.socket] = true
  end
end

local function access(plugin, conf, original)
  local request, socket = ngx.ctx.portcullis_request, plugin.server_def.socket
  local shared = kong.ctx.shared
  -- Facts that somebody else put there are for Kong's own way to judge.
  local possible = request and request.facts == shared.portcullis_facts and ready[socket]
  local instance = possible and plugin.instance_callbacks.get_instance_id(plugin, conf)
  if not instance then
    return through_kong(plugin, conf, original)
  end
  local id, same = ("%d"):format(instance), request.told == socket
  local ok, fault, unbegun = pcall(decide, plugin, event_message(id, shared, request, same))
  if ok and fault and unbegun and same then
    ok, fault, unbegun = pcall(decide, plugin, event_message(id, shared, request, false))
  end
  if ok and not fault then
    request.told = socket
    return
  end
  ready[socket] = nil
  if unbegun then
    return through_kong(plugin, conf, original)
  end
  complain(plugin.name, fault)
  return refuse(plugin.name, "policy_unavailable", "The gateway could not decide on this request.")
end

--- What only Kong's own way needs. Strings of one length share a chain of LuaJIT's table: the filler varies the message's.
function _M.complete(facts, body)
  turn = (turn + 1) % 64
  facts.filler = FILLERS[turn]
  facts.body_base64 = body and ngx.encode_base64(body)
end

--- Lays this way over that of every plugin of the pack which Kong has loaded from a plugin server. Where this Kong is made
-- otherwise, its own way stays.
function _M.install()
  for _, loaded in ipairs(kong.db.plugins:get_handlers()) do
    local plugin = loaded.handler
    local known = type(plugin) == "table" and plugin.instance_callbacks and plugin.exposed_api and plugin.server_def
    if known and OURS[loaded.name] and plugin.access and plugin.server_def.protocol == "MsgPack:1" then
      local original = plugin.access
      plugin.access = function(_, conf)
        return access(plugin, conf, original)
      end
      _M.installed = true
    end
  end
end

return _M
