--- Tells the plugin server in batches how requests ended. Kong's own log phase of an external plugin serializes the
-- request and makes two calls, which costs more than all that comes before it.

local cjson = require "cjson.safe"
local msgpack = require "MessagePack"
local say = require "kong.plugins.llm-edge.say"

local MAX_QUEUED, MAX_BATCH, MAX_BATCH_BYTES = 10000, 256, 1048576
local GATHER_SECONDS, RETRY_SECONDS, GIVE_UP_SECONDS, TIMEOUT_MS = 0.02, 0.2, 60, 5000
local TAKEN_OVER = { name = "llm-edge", handler = { log = function() end } }

local _M = {}
--- By socket: what waits, oldest first at `head`, and whether somebody is at it. There is none for a server that settles
-- otherwise.
local queues = {}
--- Of a queue, beyond which nothing more comes in of requests that may hold nothing.
local MAX_UNHEARD = 5000
--- Bytes of one of those, about.
local UNHEARD_BYTES = 300
--- Plugins that may watch how requests end.
local WATCHERS = { ["llm-audit-log"] = true, ["llm-gateway"] = true }

local function socket_of(name)
  for _, server in ipairs(kong.configuration.pluginservers or {}) do
    if server.name == name then
      return server.socket
    end
  end
end

--- Where Kong will run this plugin's log phase for this request; nil when ai-proxy or the like may still add usage to it.
local function place_in_log_phase(name)
  local queue, place = (ngx.ctx.plugins or {}).log or {}, nil
  for i = 2, queue[0] or 0, 2 do
    local found = queue[i - 1].name
    if found:sub(1, 3) == "ai-" then
      return nil
    end
    place = found == name and i or place
  end
  return place, queue
end

local function members(from, ...)
  local picked = {}
  for _, name in ipairs({ ... }) do
    picked[name] = from and from[name]
  end
  return next(picked) and picked
end

--- For a plugin that watches how requests end: the parts of Kong's log data that it reads (`readLogged` of
-- plugins/kong/adapter/observe.ts), and what every plugin said. Its own reservations are in the record already.
local function seen_of(name, item)
  local facts, told, entries = item.facts, item.told, setmetatable({}, cjson.array_mt)
  for _, entry in ipairs(item.entries) do
    if not entry.unheard then
      local said = members(entry, "would_reject", "rule", "verdicts", "claims", "identity") or {}
      said.plugin = entry.mark.plugin
      said.reservations = entry.mark.plugin ~= name and entry.reservations or nil
      entries[#entries + 1] = said
    end
  end
  return {
    refusal = told.refusal,
    entries = entries,
    data = {
      request = { id = facts.request_id, method = facts.method },
      upstream_uri = facts.path,
      route = members(facts.route, "id", "name"),
      service = members(facts.service, "id", "name"),
      consumer = members(facts.consumer, "id", "username"),
      authenticated_entity = members(facts.credential, "id"),
      client_ip = facts.address,
      started_at = told.started_at,
      latencies = { request = told.duration, proxy = told.upstream },
      response = { status = told.report.status },
    },
  }
end

--- One for each plugin that has something to do about the end of the request. Its config but once in a message: it may be
-- longer than all the rest.
local function add_records(item, records, held, configs, told)
  for i, entry in ipairs(item.entries) do
    if entry.reservations or entry.observes then
      records[#records + 1] = {
        plugin = entry.mark.plugin,
        plugin_id = entry.mark.plugin_id,
        protocol = entry.protocol,
        held_bytes = entry.reservations and #entry.reservations,
        report = item.told.report,
        seen = entry.observes and seen_of(entry.mark.plugin, item) or nil,
      }
      held[#held + 1] = entry.reservations
      local config = item.configs[i]
      if not told[config] then
        told[config] = true
        configs[#configs + 1] = { plugin = entry.mark.plugin, config = assert(cjson.encode(config)) }
      end
    end
  end
end

local function bytes_of(text)
  return function(buffer)
    msgpack.packers.binary(buffer, text)
  end
end

--- Sends one request of MessagePack-RPC; returns its result, or nil and why not.
local function call(socket, text, held)
  local connection = ngx.socket.tcp()
  connection:settimeouts(TIMEOUT_MS, TIMEOUT_MS, TIMEOUT_MS)
  local ok, err = connection:connect("unix:" .. socket)
  if ok then
    ok, err = connection:send(msgpack.pack({ 0, 0, "portcullis.Settle", { { text, bytes_of(held) } } }))
  end
  if not ok then
    return nil, err
  end
  local read, _, reply = pcall(msgpack.unpacker(function() return connection:receiveany(4096) end))
  if not read or type(reply) ~= "table" then
    -- Kong's own calls share the pool of connections: a late answer must never be read as theirs.
    connection:close()
    return nil, "no answer"
  end
  connection:setkeepalive()
  return reply[4], reply[3]
end

--- Takes from the head what one message may carry.
local function next_batch(queue)
  local batch, bytes = {}, 0
  for i = queue.head, queue.tail do
    local item = queue[i]
    bytes = bytes + item.bytes
    if #batch > 0 and (bytes > MAX_BATCH_BYTES or #batch >= MAX_BATCH) then
      break
    end
    batch[#batch + 1] = item
  end
  return batch
end

--- What is told first: how each request ended, by its id alone. And where each of those stands in the batch.
local function ends_of(batch)
  local ends, unheard, places = setmetatable({}, cjson.array_mt), nil, {}
  for i, item in ipairs(batch) do
    if item.unheard then
      unheard = unheard or {}
      unheard[#unheard + 1] = item.unheard
    else
      ends[#ends + 1], places[#places + 1] = item.told, i
    end
  end
  return places, assert(cjson.encode({ version = 1, ended = ends, unheard = unheard })), ""
end

--- Everything, for a server that was started since and knows neither request nor config. The records as JSON; and behind it
-- the reservations, in which there is nothing to escape.
local function records_of(batch, places, unknown)
  local records, held, configs, told = {}, {}, {}, {}
  for _, place in ipairs(unknown) do
    add_records(batch[places[place]], records, held, configs, told)
  end
  return assert(cjson.encode({ version = 1, records = records, configs = configs })), table.concat(held)
end

--- About as long as all that may have to be told of a request.
local function size_of(report, entries)
  local tap = report.tap or {}
  local bytes = #(tap.usage_json or "")
  for _, event in ipairs(tap.events or {}) do
    bytes = bytes + #event
  end
  for i = 1, #entries do
    local entry = entries[i]
    bytes = bytes + 1000 + #(entry.reservations or "") + #(entry.claims or "") + #(entry.identity or "")
  end
  return bytes
end

--- True once every item of the batch was settled.
local function deliver(socket, batch)
  local places, ends, none = ends_of(batch)
  local answer, err = call(socket, ends, none)
  if answer and answer.unknown and #answer.unknown > 0 then
    answer, err = call(socket, records_of(batch, places, answer.unknown))
  end
  return answer ~= nil and err == nil, err
end

local function deliver_all(socket, queue)
  while queue.head <= queue.tail do
    local batch = next_batch(queue)
    local ok, done, err = pcall(deliver, socket, batch)
    if ok and done then
      queue.failing = nil
    else
      local age = ngx.now() - batch[1].since
      if not queue.failing then
        say("cannot settle requests, trying again: " .. tostring(err or done))
      end
      queue.failing = true
      if age > GIVE_UP_SECONDS then
        say(("gave up settling %d requests; what they reserved stays until its window ends"):format(#batch))
      else
        batch = {}
        ngx.sleep(RETRY_SECONDS)
      end
    end
    for _ = 1, #batch do
      queue[queue.head] = nil
      queue.head = queue.head + 1
    end
    if queue.tail - queue.head < MAX_BATCH then
      ngx.sleep(GATHER_SECONDS)
    end
  end
end

local function flush(_, socket)
  local queue = queues[socket]
  local ok, fault = pcall(deliver_all, socket, queue)
  -- Whatever happened, the next request that ends begins anew with what is left.
  queue.busy = false
  if not ok then
    say("settling stopped: " .. tostring(fault))
  end
end

--- Where each entry's plugin has its log phase; nil unless all of them are of one server, which alone knows how all of a
-- request is settled.
local function places_of(entries)
  local places, socket, log_phase = {}, nil, nil
  for i = 1, #entries do
    local name = entries[i].mark.plugin
    local of_server = entries[i].batch and socket_of(name)
    places[i], log_phase = place_in_log_phase(name)
    if not places[i] or not of_server or socket and of_server ~= socket then
      return nil
    end
    socket = of_server
  end
  return places, socket, log_phase
end

--- Who is to be told of the end, as names and ids in turn, and whether one of them watches.
local function plugins_of(entries)
  local plugins, watched
  for i = 1, #entries do
    local entry = entries[i]
    if entry.reservations or entry.observes then
      plugins = plugins or {}
      plugins[#plugins + 1], plugins[#plugins + 2] = entry.mark.plugin, entry.mark.plugin_id
      watched = watched or entry.observes
    end
  end
  return plugins, watched
end

--- False when nobody will come to send what is queued.
local function wake(queue, socket)
  if queue.busy then
    return true
  end
  local ok, err = (_G.native_timer_at or ngx.timer.at)(GATHER_SECONDS, flush, socket)
  -- A worker that ends gives no timers any more, and then nothing is wrong.
  if not ok and not ngx.worker.exiting() then
    say("cannot settle the request ahead of its log phase: " .. tostring(err))
  end
  queue.busy = ok
  return ok
end

local function add(queue, item)
  item.since = ngx.now()
  queue.tail = queue.tail + 1
  queue[queue.tail] = item
end

--- Of a request that was refused because nobody decided: tells the server which plugins of the pack left no entry. An answer
-- that no one got may have let the request through, and holds what only this gives back. Returns entries for those that are
-- to be told of the end all the same, for `take_over`: Kong's own log phase tells a server that is not there but once.
function _M.disown(shared, entry_keys)
  local queue, by_socket, watchers = (ngx.ctx.plugins or {}).log or {}, {}, {}
  for i = 2, queue[0] or 0, 2 do
    local name = queue[i - 1].name
    local key = entry_keys[name]
    local entry, socket = key and shared[key], key and socket_of(name)
    if socket and queues[socket] and not (type(entry) == "table" and entry.mark) then
      local names = by_socket[socket] or {}
      names[#names + 1], by_socket[socket] = name, names
      if WATCHERS[name] then
        local mark = { plugin = name, plugin_id = queue[i].__plugin_id }
        watchers[#watchers + 1] = { mark = mark, batch = true, observes = true, unheard = true }
      end
    end
  end
  for socket, names in pairs(by_socket) do
    local waiting = queues[socket]
    if waiting.tail - waiting.head + 1 < MAX_UNHEARD and wake(waiting, socket) then
      add(waiting, { unheard = { request = shared.portcullis_facts.request_id, plugins = names }, bytes = UNHEARD_BYTES })
    end
  end
  return watchers
end

--- Settles a request in Kong's stead, and keeps Kong from running its plugins' log phases for it. Returns false, and leaves
-- both to Kong, when it cannot.
function _M.take_over(entries, report, refusal)
  local places, socket, log_phase = places_of(entries)
  if not places then
    return false
  end
  local plugins, watched = plugins_of(entries)
  if plugins then
    local queue = queues[socket] or { head = 1, tail = 0 }
    queues[socket] = queue
    if queue.tail - queue.head + 1 >= MAX_QUEUED or not wake(queue, socket) then
      return false
    end
    local facts, configs = kong.ctx.shared.portcullis_facts, {}
    local told = { request = facts.request_id, plugins = plugins, report = report, refusal = refusal }
    if watched then
      told.started_at = ngx.ctx.KONG_PROCESSING_START or ngx.req.start_time() * 1000
      told.duration, told.upstream = tonumber(ngx.var.request_time) * 1000, ngx.ctx.KONG_WAITING_TIME
    end
    for i = 1, #places do
      configs[i] = log_phase[places[i]]
    end
    add(queue, {
      told = told, entries = entries, facts = facts, configs = configs, bytes = size_of(report, entries),
    })
  end
  for i = 1, #places do
    log_phase[places[i] - 1] = TAKEN_OVER
  end
  return true
end

return _M
