--- Tells the plugin server in batches how requests ended. Kong's own log phase of an external plugin serializes the
-- request and makes two calls, which costs more than all that comes before it.

local cjson = require "cjson.safe"
local msgpack = require "MessagePack"
local say = require "kong.plugins.llm-edge.say"

local MAX_QUEUED, MAX_BATCH, MAX_BATCH_BYTES = 10000, 256, 1048576
local GATHER_SECONDS, RETRY_SECONDS, GIVE_UP_SECONDS, TIMEOUT_MS = 0.02, 0.2, 60, 5000
local TAKEN_OVER = { name = "llm-edge", handler = { log = function() end } }

local _M = {}
--- By socket: what waits, oldest first at `head`, and whether somebody is at it.
local queues = {}

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
local function seen_of(name, ending)
  local facts, entries = kong.ctx.shared.portcullis_facts, setmetatable({}, cjson.array_mt)
  for i, entry in ipairs(ending.entries) do
    entries[i] = members(entry, "plugin", "would_reject", "verdicts", "claims", "identity")
    entries[i].reservations = entry.plugin ~= name and entry.reservations or nil
  end
  return {
    refusal = ending.refusal,
    entries = entries,
    data = {
      request = { id = facts.request_id, method = facts.method },
      upstream_uri = facts.path,
      route = members(facts.route, "id", "name"),
      service = members(facts.service, "id", "name"),
      consumer = members(facts.consumer, "id", "username"),
      authenticated_entity = members(facts.credential, "id"),
      client_ip = facts.address,
      started_at = ngx.ctx.KONG_PROCESSING_START or ngx.req.start_time() * 1000,
      latencies = { request = tonumber(ngx.var.request_time) * 1000, proxy = ngx.ctx.KONG_WAITING_TIME },
      response = { status = ending.report.status },
    },
  }
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

--- The records as JSON; and behind it the reservations, in which there is nothing to escape.
local function message(batch, with_configs)
  local records, held, configs = {}, {}, setmetatable({}, cjson.array_mt)
  for i, item in ipairs(batch) do
    records[i], held[i] = item.record, item.held
    configs[i] = with_configs and { plugin = item.record.plugin, config = assert(cjson.encode(item.config)) } or nil
  end
  return assert(cjson.encode({ version = 1, records = records, configs = configs })), table.concat(held)
end

--- About as long as the record's JSON.
local function size_of(record)
  local tap = record.report.tap or {}
  local bytes = 500 + (record.held_bytes or 0) + #(tap.usage_json or "")
  for _, event in ipairs(tap.events or {}) do
    bytes = bytes + #event
  end
  for _, entry in ipairs(record.seen and record.seen.entries or {}) do
    bytes = bytes + 500 + #(entry.reservations or "") + #(entry.claims or "") + #(entry.identity or "")
  end
  return bytes
end

--- True once every item of the batch was settled. A server that was started since knows no config until it is told.
local function deliver(socket, batch)
  local answer, err = call(socket, message(batch))
  if answer and answer.unknown and #answer.unknown > 0 then
    local again = {}
    for i, index in ipairs(answer.unknown) do
      again[i] = batch[index]
    end
    answer, err = call(socket, message(again, true))
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

--- Settles an entry in Kong's stead, and keeps Kong from running its plugin's log phase for this request. Leaves both to
-- Kong when it cannot. `ending` is what a plugin that watches is told of.
function _M.take_over(entry, ending)
  local name = entry.mark.plugin
  local place, log_phase = place_in_log_phase(name)
  local socket = socket_of(name)
  if not place or not socket then
    return
  end
  local queue = queues[socket] or { head = 1, tail = 0 }
  queues[socket] = queue
  if queue.tail - queue.head + 1 >= MAX_QUEUED then
    return
  end
  if entry.reservations or entry.observes then
    local record = {
      plugin = name,
      plugin_id = entry.mark.plugin_id,
      protocol = entry.protocol,
      held_bytes = entry.reservations and #entry.reservations,
      report = entry.report,
      seen = entry.observes and seen_of(name, ending) or nil,
    }
    if not queue.busy then
      local ok, err = (_G.native_timer_at or ngx.timer.at)(GATHER_SECONDS, flush, socket)
      if not ok then
        -- A worker that ends gives no timers any more, and then nothing is wrong.
        if not ngx.worker.exiting() then
          say("cannot settle the request ahead of its log phase: " .. tostring(err))
        end
        return
      end
      queue.busy = true
    end
    queue.tail = queue.tail + 1
    queue[queue.tail] = {
      record = record, held = entry.reservations or "", bytes = size_of(record), config = log_phase[place],
      since = ngx.now(),
    }
  end
  log_phase[place - 1] = TAKEN_OVER
end

return _M
