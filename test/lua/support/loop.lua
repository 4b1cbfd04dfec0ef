--- nginx's event loop as far as a channel needs it: light threads, semaphores, timers and cosockets over a clock that only
-- a test moves. What happens at the peer's end of a connection is the test's own part.

require "kong"

local _M = {}
--- The loop of the test under way.
local current

--- Lets a thread run when it is its turn, `result` being what its wait returns.
local function wake(waiter, ...)
  if not waiter.woken then
    waiter.woken = true
    current.turns[#current.turns + 1] = { thread = waiter.thread, args = { n = select("#", ...), ... } }
  end
end

--- Puts the running thread to sleep until somebody wakes it, or for so many seconds: then the wait returns nil, "timeout".
local function park(seconds)
  local waiter = { thread = assert(coroutine.running(), "only a thread may wait"), at = current.now + seconds }
  current.parked[#current.parked + 1] = waiter
  return waiter
end

local function start(run, ...)
  local thread = { ended = false, waiters = {} }
  thread.co = coroutine.create(function(...)
    run(...)
    thread.ended = true
    for _, waiter in ipairs(thread.waiters) do
      wake(waiter, true)
    end
  end)
  current.turns[#current.turns + 1] = { thread = thread.co, args = { n = select("#", ...), ... } }
  return thread
end

local semaphores = {}
semaphores.__index = semaphores

function semaphores:post()
  local waiter = table.remove(self.waiters, 1)
  while waiter and waiter.woken do
    waiter = table.remove(self.waiters, 1)
  end
  if waiter and not current.stalled then
    wake(waiter, true)
  else
    self.count = self.count + 1
  end
end

function semaphores:wait(seconds)
  if self.count > 0 then
    self.count = self.count - 1
    return true
  end
  local waiter = park(seconds)
  self.waiters[#self.waiters + 1] = waiter
  return coroutine.yield()
end

local function flat(data)
  if type(data) ~= "table" then
    return tostring(data)
  end
  local pieces = {}
  for i, item in ipairs(data) do
    pieces[i] = flat(item)
  end
  return table.concat(pieces)
end

--- The peer's end of a connection: `sent` is what came, in writes.
local peers = {}
peers.__index = peers

function peers:deliver(bytes)
  self.inbox = self.inbox .. bytes
  if self.reader then
    wake(self.reader, "more")
  end
end

function peers:close()
  self.shut = true
  if self.reader then
    wake(self.reader, "closed")
  end
end

function peers:received()
  return table.concat(self.sent)
end

local sockets = {}
sockets.__index = sockets

function sockets:settimeouts(_, _, read)
  self.read_seconds = read / 1000
end

function sockets:connect(path, options)
  if current.refuse then
    return nil, current.refuse
  end
  self.peer = setmetatable({ path = path, pool = options and options.pool, inbox = "", sent = {} }, peers)
  current.peers[#current.peers + 1] = self.peer
  return true
end

function sockets:send(data)
  if self.peer.shut then
    return nil, "closed"
  end
  local text = flat(data)
  self.peer.sent[#self.peer.sent + 1] = text
  return #text
end

--- What came before a timeout or the end is returned as the third value, and gone.
function sockets:receive(size)
  local peer = self.peer
  local till = current.now + self.read_seconds
  while #peer.inbox < size do
    if peer.shut or self.closed or current.now >= till then
      local partial = peer.inbox
      peer.inbox = ""
      return nil, (peer.shut or self.closed) and "closed" or "timeout", partial
    end
    peer.reader = park(till - current.now)
    coroutine.yield()
    peer.reader = nil
  end
  local data = peer.inbox:sub(1, size)
  peer.inbox = peer.inbox:sub(size + 1)
  return data
end

function sockets:close()
  self.closed, self.peer.left = true, true
  return true
end

package.preload["ngx.semaphore"] = function()
  return { new = function() return setmetatable({ count = 0, waiters = {} }, semaphores) end }
end

--- Everything that is ready to run, without time passing. A fault in a thread is the test's own fault.
local function run_turns()
  while #current.turns > 0 do
    local turn = table.remove(current.turns, 1)
    local ok, fault = coroutine.resume(turn.thread, unpack(turn.args, 1, turn.args.n))
    if not ok then
      error(fault .. "\n" .. debug.traceback(turn.thread), 0)
    end
  end
end

--- Lets so many seconds pass, one deadline after the other. Without a number: none.
function _M.run(seconds)
  local till = current.now + (seconds or 0)
  while true do
    run_turns()
    local next_at, waiting = nil, {}
    for _, waiter in ipairs(current.parked) do
      if not waiter.woken then
        waiting[#waiting + 1] = waiter
        next_at = math.min(next_at or waiter.at, waiter.at)
      end
    end
    current.parked = waiting
    if not next_at or next_at > till then
      current.now = till
      return
    end
    current.now = next_at
    for _, waiter in ipairs(waiting) do
      if waiter.at <= next_at then
        wake(waiter, nil, "timeout")
      end
    end
  end
end

--- A new loop, put into the `ngx` of the request that is in place. Returns what happened in it: `peers` are its
-- connections, `log` its lines; `refuse` makes connects fail, `exiting` ends the worker. While it is `stalled` a post wakes
-- nobody before the deadline of whoever waits, as where nginx looks at its clocks first.
function _M.install()
  current = { now = 1000, turns = {}, parked = {}, peers = {}, log = {}, timers = 0 }
  local loop = current
  _M.attach()
  return loop
end

--- Puts the loop into the `ngx` of another request.
function _M.attach()
  ngx.ERR = "error"
  ngx.now = function() return current.now end
  local log = ngx.log
  ngx.log = function(level, ...)
    current.log[#current.log + 1] = table.concat({ ... })
    log(level, table.concat({ ... }))
  end
  ngx.worker = { exiting = function() return current.exiting or false end }
  ngx.socket = { tcp = function() return setmetatable({}, sockets) end }
  ngx.timer = { at = function(_, run, ...)
    if current.no_timers then
      return nil, "too many pending timers"
    end
    current.timers = current.timers + 1
    start(run, current.exiting or false, ...)
    return true
  end }
  ngx.thread = {
    spawn = function(run, ...) return start(run, ...) end,
    wait = function(thread)
      if not thread.ended then
        thread.waiters[#thread.waiters + 1] = park(math.huge)
        coroutine.yield()
      end
      return true
    end,
  }
end

--- Ends the running thread where it is: nothing behind this call ever runs.
function _M.leave()
  coroutine.yield()
end

--- Runs `run` in a thread of its own, as a request does. Returns a table that gets its results as `values`.
function _M.request(run, ...)
  local request = {}
  start(function(...)
    request.values = { run(...) }
    request.ended = true
  end, ...)
  return request
end

return _M
