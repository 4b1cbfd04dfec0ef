--- One connection of this worker to a plugin server, which its requests share: what several of them say in one turn of
-- nginx's event loop goes out in one write, and so do the answers. Bound to no request, it lives in a timer.

local bit = require "bit"
local say = require "kong.plugins.llm-edge.say"
local semaphore = require "ngx.semaphore"

--- A request of MessagePack-RPC up to its id.
local HEAD = "\148\0\206"
--- A reply without an error, whose result is the length of a text and a binary that begins with it (`encodeText` of
-- plugins/kong/server/msgpack-encode.ts).
local ANSWER_START, ANSWER_HEAD, MAX_ANSWER = "\148\1\206", 19, 71303168
--- Of a message that answers nobody: the server wants this connection to end.
local GO_AWAY = 0
local MAX_ID = 4294967295
local CONNECT_MS, SEND_MS, LOOK_UP_MS, MAX_AGE_SECONDS, MAX_SPARE = 1000, 2000, 500, 60, 1000
local DEFAULT_TIMEOUT_SECONDS, LAST_LOOK_SECONDS = 2, 0.01

local _M = {}
local channels = {}
--- Semaphores that nobody waits on.
local spare = {}
local last_id = 0

local function packed_number(value)
  return string.char(
    bit.band(bit.rshift(value, 24), 255), bit.band(bit.rshift(value, 16), 255), bit.band(bit.rshift(value, 8), 255),
    bit.band(value, 255))
end

local function number_at(text, place)
  local a, b, c, d = text:byte(place, place + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function set_timeout(directives)
  for _, directive in ipairs(directives or {}) do
    if directive.name == "lua_socket_read_timeout" then
      local amount, unit = tostring(directive.value):match("^(%d+)(m?s?)$")
      if amount then
        return unit == "ms" and amount / 1000 or unit == "m" and amount * 60 or tonumber(amount)
      end
    end
  end
end

--- How long Kong itself would wait for a plugin server: `lua_socket_read_timeout`, where it is set. What is set for the
-- proxy goes before what is set for all.
local function timeout_seconds()
  local settings = kong.configuration
  return set_timeout(settings.nginx_proxy_directives) or set_timeout(settings.nginx_http_directives)
    or DEFAULT_TIMEOUT_SECONDS
end

--- From now on no request takes this channel; it ends with the last one that waits for an answer.
local function leave(channel)
  if channels[channel.socket] == channel then
    channels[channel.socket] = nil
  end
  channel.leaving = true
end

local function answer(channel, id, text, following)
  local waiter = channel.waiting[id]
  if waiter then
    channel.waiting[id], channel.count = nil, channel.count - 1
    waiter.text, waiter.following = text, following
    waiter.done:post()
  end
end

local function fail(channel, why)
  leave(channel)
  channel.closed = true
  for id in pairs(channel.waiting) do
    answer(channel, id, nil, why)
  end
  channel.wake:post()
end

local function read_all(channel)
  local connection = channel.connection
  while not channel.closed do
    local head, err, partial = connection:receive(ANSWER_HEAD)
    if head then
      local size, total = number_at(head, 11), number_at(head, 16)
      if head:sub(1, 3) ~= ANSWER_START or size > total or total > MAX_ANSWER then
        return fail(channel, "not an answer")
      end
      local text, following
      text, err = connection:receive(size)
      if text and total > size then
        following, err = connection:receive(total - size)
      end
      if not text or err then
        return fail(channel, err)
      end
      local id = number_at(head, 4)
      if id == GO_AWAY then
        leave(channel)
        channel.wake:post()
      else
        answer(channel, id, text, following)
      end
    elseif err ~= "timeout" or (partial and partial ~= "") then
      return fail(channel, err)
    end
  end
end

local function write_all(channel)
  while not channel.closed do
    local queue = channel.queue
    if #queue > 0 then
      channel.queue = {}
      local sent, err = channel.connection:send(queue)
      if not sent then
        return fail(channel, err)
      end
    elseif channel.leaving and channel.count == 0 then
      channel.closed = true
    else
      channel.idle = true
      channel.wake:wait(LOOK_UP_MS / 1000)
      channel.idle = false
      if ngx.worker.exiting() or ngx.now() - channel.since > MAX_AGE_SECONDS then
        leave(channel)
      end
    end
  end
end

local function run(premature, channel)
  if premature then
    return fail(channel, "the worker ends")
  end
  local connection = ngx.socket.tcp()
  connection:settimeouts(CONNECT_MS, SEND_MS, LOOK_UP_MS)
  -- A pool of its own: Kong's connections bring answers of another kind.
  local connected, err = connection:connect("unix:" .. channel.socket, { pool = "llm-edge:" .. channel.socket })
  if not connected then
    return fail(channel, err)
  end
  channel.connection = connection
  local reader = ngx.thread.spawn(read_all, channel)
  local ok, fault = pcall(write_all, channel)
  if not ok then
    say("the channel to the plugin server broke: " .. tostring(fault))
    fail(channel, "a fault")
  end
  ngx.thread.wait(reader)
  fail(channel, "the channel ended")
  connection:close()
end

local function open(socket)
  local channel = {
    socket = socket, queue = {}, waiting = {}, count = 0, wake = semaphore.new(), since = ngx.now(),
    timeout = timeout_seconds(),
  }
  local ok, err = (_G.native_timer_at or ngx.timer.at)(0, run, channel)
  if not ok then
    return nil, err
  end
  channels[socket] = channel
  return channel
end

--- Sends a message, given from its method on, and waits for its answer. Returns the answer's text and what bytes follow it,
-- or nil and why not.
function _M.exchange(socket, message)
  local channel = channels[socket]
  if not channel then
    local opened, err = open(socket)
    if not opened then
      return nil, err
    end
    channel = opened
  end
  last_id = last_id % MAX_ID + 1
  local id, waiter = last_id, { done = table.remove(spare) or semaphore.new() }
  channel.waiting[id], channel.count = waiter, channel.count + 1
  channel.queue[#channel.queue + 1] = { HEAD, packed_number(id), message }
  if channel.idle then
    channel.idle = false
    channel.wake:post()
  end
  -- After a stall of this worker the answer may be here all the same: nginx looks at its clocks before it wakes those who
  -- wait, and where it was stopped even before it reads.
  local woken = waiter.done:wait(channel.timeout) or waiter.done:wait(LAST_LOOK_SECONDS)
  if not woken and channel.waiting[id] then
    -- A server that is late with one answer is late with all: it gives back what it holds once the connection is gone.
    channel.waiting[id], channel.count = nil, channel.count - 1
    fail(channel, "no answer in time")
    return nil, "no answer in time"
  end
  if woken and #spare < MAX_SPARE then
    spare[#spare + 1] = waiter.done
  end
  return waiter.text, waiter.following
end

_M.packed_number = packed_number

return _M
