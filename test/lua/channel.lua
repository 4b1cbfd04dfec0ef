--- llm-edge's channel: many requests over one connection, whatever becomes of it.

local check = require "check"
local json = require "json"
local loop = require "loop"
local msgpack = require "msgpack"
local request = require "kong"
package.preload["MessagePack"] = function() return msgpack end
request({})
loop.install()
local channel = require "kong.plugins.llm-edge.channel"

--- A request's message from its method on, as `exchange` takes it.
local function message(word)
  return { "\164Test\145", { "\164" .. word } }
end

local sockets = 0

--- A worker of its own, with a plugin server at a path of its own.
local function worker(timeout)
  request({})
  local scene = loop.install()
  sockets = sockets + 1
  scene.socket = "/tmp/channel-" .. sockets
  kong.configuration = { nginx_http_directives = { { name = "lua_socket_read_timeout", value = timeout } } }
  function scene.ask(word)
    return loop.request(channel.exchange, scene.socket, message(word or "word"))
  end
  --- Requests that came over a connection.
  function scene.requests(peer)
    return msgpack.requests((peer or scene.peers[1]):received())
  end
  return scene
end

local function answered(asked, text, following)
  check.equal(asked.ended, true, "answered")
  check.equal(asked.values[1], text)
  check.equal(asked.values[2], following)
end

local function waits(asked)
  check.equal(asked.ended, nil, "still waits")
end

local function refused(asked, why)
  check.equal(asked.ended, true, "refused")
  check.equal(asked.values[1], nil)
  check.equal(asked.values[2], why)
end

check.case("what several requests say in one turn goes out in one write, over one connection of its own pool", function()
  local scene = worker()
  local asked = { scene.ask("aaaa"), scene.ask("bbbb"), scene.ask("cccc") }
  loop.run()
  check.equal(#scene.peers, 1)
  check.equal(scene.peers[1].path, "unix:" .. scene.socket)
  check.equal(scene.peers[1].pool, "llm-edge:" .. scene.socket)
  check.equal(#scene.peers[1].sent, 1)
  local seen = scene.requests()
  check.equal(#seen, 3)
  check.equal(seen[1].method .. seen[1].argument .. seen[2].argument .. seen[3].argument, "Testaaaabbbbcccc")
  check.equal(seen[2].id, seen[1].id + 1)
  for _, one in ipairs(asked) do
    waits(one)
  end
end)

check.case("answers in any order reach the requests that they belong to", function()
  local scene = worker()
  local asked, texts = {}, {}
  for i = 1, 5 do
    asked[i] = scene.ask()
  end
  loop.run()
  for at, i in ipairs({ 4, 1, 5, 3, 2 }) do
    texts[at] = msgpack.answer(scene.requests()[i].id, "for " .. i)
  end
  scene.peers[1]:deliver(table.concat(texts))
  loop.run()
  for i = 1, 5 do
    answered(asked[i], "for " .. i)
  end
end)

check.case("an answer may be cut at any byte, and bytes may follow its text", function()
  local bytes = "\0\255{}\r\n" .. ("y"):rep(300)
  local size = #msgpack.answer(1, '{"calls":[]}', bytes)
  local scene = worker()
  for cut = 1, size - 1 do
    local one, other = scene.ask(), scene.ask()
    loop.run()
    local seen = scene.requests()
    local whole = msgpack.answer(seen[#seen - 1].id, '{"calls":[]}', bytes)
    scene.peers[1]:deliver(whole:sub(1, cut))
    loop.run(0.1)
    waits(one)
    scene.peers[1]:deliver(whole:sub(cut + 1) .. msgpack.answer(seen[#seen].id, "{}"))
    loop.run()
    answered(one, '{"calls":[]}', bytes)
    answered(other, "{}", nil)
    scene.peers[1].sent = {}
  end
end)

check.case("an idle connection stays, and serves the next request at once", function()
  local scene = worker()
  local one = scene.ask()
  loop.run()
  scene.peers[1]:deliver(msgpack.answer(scene.requests()[1].id, "1"))
  loop.run(20)
  answered(one, "1")
  local other = scene.ask()
  loop.run()
  check.equal(#scene.peers, 1)
  scene.peers[1]:deliver(msgpack.answer(scene.requests()[2].id, "2"))
  loop.run()
  answered(other, "2")
end)

check.case("ids begin anew after the largest that fits, and none is that of a message to nobody", function()
  -- Before the first id of all was given out here, which an upvalue of `exchange` keeps.
  local name, index
  for i = 1, 60 do
    name = debug.getupvalue(channel.exchange, i)
    index = name == "last_id" and i or index
  end
  local scene = worker()
  debug.setupvalue(channel.exchange, assert(index, "no last id"), 4294967294)
  local one, other = scene.ask(), scene.ask()
  loop.run()
  local seen = scene.requests()
  check.equal(seen[1].id, 4294967295)
  check.equal(seen[2].id, 1)
  scene.peers[1]:deliver(msgpack.answer(1, "new") .. msgpack.answer(4294967295, "old"))
  loop.run()
  answered(one, "old")
  answered(other, "new")
end)

check.case("an answer that is late for one request fails the channel for all, and the next opens another", function()
  local scene = worker("1s")
  local early = scene.ask()
  loop.run(0.4)
  local late = scene.ask()
  loop.run(0.5)
  waits(early)
  loop.run(0.2)
  refused(early, "no answer in time")
  refused(late, "no answer in time")
  local after = scene.ask()
  loop.run(0.6)
  check.equal(#scene.peers, 2)
  check.equal(scene.peers[1].left, true)
  scene.peers[2]:deliver(msgpack.answer(scene.requests(scene.peers[2])[1].id, "new"))
  loop.run()
  answered(after, "new")
end)

check.case("takes an answer that came while the worker stood still, although its time is up, and no other's", function()
  local scene = worker("1s")
  local one, other = scene.ask("aaaa"), scene.ask("bbbb")
  loop.run()
  scene.stalled = true
  scene.peers[1]:deliver(msgpack.answer(scene.requests()[1].id, "1", "bytes"))
  loop.run(1.1)
  scene.stalled = nil
  answered(one, "1", "bytes")
  refused(other, "no answer in time")
  -- Where the clocks come even before what is to be read.
  local late = scene.ask()
  loop.run(1.005)
  waits(late)
  scene.peers[2]:deliver(msgpack.answer(scene.requests(scene.peers[2])[1].id, "3"))
  loop.run()
  answered(late, "3")
  -- Nor is anything taken twice.
  local after, last = scene.ask(), scene.ask()
  loop.run(0.6)
  scene.peers[2]:deliver(msgpack.answer(scene.requests(scene.peers[2])[3].id, "2"))
  loop.run()
  waits(after)
  answered(last, "2")
end)

check.case("what is set for the proxy goes before what is set for all", function()
  local scene = worker("9s")
  kong.configuration.nginx_proxy_directives =
    { { name = "proxy_ssl_verify", value = "on" }, { name = "lua_socket_read_timeout", value = "3s" } }
  local asked = scene.ask()
  loop.run(2.9)
  waits(asked)
  loop.run(0.2)
  refused(asked, "no answer in time")
end)

check.case("waits as long as Kong itself would", function()
  for value, seconds in pairs({ ["3s"] = 3, ["1500ms"] = 1.5, ["4"] = 4, ["1m"] = 60, ["soon"] = 2 }) do
    local scene = worker(value)
    local asked = scene.ask()
    loop.run(seconds - 0.1)
    waits(asked)
    loop.run(0.2)
    refused(asked, "no answer in time")
  end
end)

check.case("a server that closes refuses all who wait, in the middle of an answer, too", function()
  for _, sent in ipairs({ "", "\148\1\206\0", msgpack.answer(1, "12345"):sub(1, -2) }) do
    local scene = worker()
    local one, other = scene.ask(), scene.ask()
    loop.run()
    scene.peers[1]:deliver(sent)
    scene.peers[1]:close()
    loop.run()
    refused(one, "closed")
    refused(other, "closed")
    local after = scene.ask()
    loop.run()
    check.equal(#scene.peers, 2)
    waits(after)
  end
end)

check.case("an answer that does not get on fails the channel", function()
  local scene = worker("5s")
  local asked = scene.ask()
  loop.run()
  scene.peers[1]:deliver("\148\1\206")
  loop.run(0.6)
  refused(asked, "timeout")
  local other = scene.ask()
  loop.run(0)
  scene.peers[2]:deliver(msgpack.answer(scene.requests(scene.peers[2])[1].id, "1234"):sub(1, -2))
  loop.run(0.6)
  refused(other, "timeout")
end)

check.case("what is no answer fails the channel", function()
  local good = msgpack.answer(1, "12345")
  for _, bytes in ipairs({
    "HTTP/1.1 400 Bad Request", "\148\0\206" .. good:sub(4), "\148\1\205" .. good:sub(4),
    -- A text longer than all of it, and an answer that no memory is wasted on.
    good:sub(1, 10) .. "\0\0\0\6" .. good:sub(15), good:sub(1, 15) .. "\255\255\255\255" .. ("x"):rep(100),
  }) do
    local scene = worker()
    local asked = scene.ask()
    loop.run()
    scene.peers[1]:deliver(bytes)
    loop.run()
    refused(asked, "not an answer")
    loop.run(3)
    check.equal(scene.peers[1].left, true)
  end
end)

check.case("an answer that nobody waits for harms nobody", function()
  local scene = worker()
  local asked = scene.ask()
  loop.run()
  local id = scene.requests()[1].id
  scene.peers[1]:deliver(msgpack.answer(id + 1000, "?") .. msgpack.answer(id, "!") .. msgpack.answer(id, "again"))
  loop.run()
  answered(asked, "!")
  local other = scene.ask()
  loop.run()
  waits(other)
end)

check.case("asked to go away: new requests take a new connection, the old one ends with its last answer", function()
  local scene = worker()
  local one, other = scene.ask(), scene.ask()
  loop.run()
  local old = scene.peers[1]
  old:deliver(msgpack.answer(scene.requests()[1].id, "1") .. msgpack.answer(0, "{}"))
  loop.run()
  answered(one, "1")
  local new = scene.ask()
  loop.run(1)
  waits(other)
  check.equal(old.left, nil)
  check.equal(#scene.peers, 2)
  check.equal(#scene.requests(old), 2)
  check.equal(#scene.requests(scene.peers[2]), 1)
  old:deliver(msgpack.answer(scene.requests()[2].id, "2"))
  scene.peers[2]:deliver(msgpack.answer(scene.requests(scene.peers[2])[1].id, "3"))
  loop.run(1)
  answered(other, "2")
  answered(new, "3")
  check.equal(old.left, true)
  check.equal(scene.peers[2].left, nil)
end)

check.case("asked to go away while nobody waits, a connection ends at once", function()
  local scene = worker()
  local asked = scene.ask()
  loop.run()
  scene.peers[1]:deliver(msgpack.answer(scene.requests()[1].id, "1"))
  loop.run()
  answered(asked, "1")
  scene.peers[1]:deliver(msgpack.answer(0, "{}"))
  loop.run(0.5)
  check.equal(scene.peers[1].left, true)
end)

check.case("a connection ends after a minute, and with the worker, but not while a request waits", function()
  for _, ending in ipairs({ "age", "worker" }) do
    local scene = worker("5s")
    local first = scene.ask()
    loop.run()
    scene.peers[1]:deliver(msgpack.answer(scene.requests()[1].id, "1"))
    loop.run(ending == "age" and 59 or 1)
    answered(first, "1")
    check.equal(scene.peers[1].left, nil)
    local asked = scene.ask()
    loop.run()
    scene.exiting = ending == "worker"
    loop.run(3)
    waits(asked)
    check.equal(scene.peers[1].left, nil)
    scene.peers[1]:deliver(msgpack.answer(scene.requests()[2].id, "2"))
    loop.run(1)
    answered(asked, "2")
    check.equal(scene.peers[1].left, true)
  end
end)

check.case("a server that is not there is a refusal, and the next request looks again", function()
  local scene = worker()
  scene.refuse = "connection refused"
  local asked = scene.ask()
  loop.run()
  refused(asked, "connection refused")
  scene.refuse = nil
  local after = scene.ask()
  loop.run()
  check.equal(#scene.peers, 1)
  waits(after)
end)

check.case("a worker that ends, or has no timer left, opens no channel", function()
  local scene = worker()
  scene.exiting = true
  local asked = scene.ask()
  loop.run()
  refused(asked, "the worker ends")
  local full = worker()
  full.no_timers = true
  local other = full.ask()
  loop.run()
  refused(other, "too many pending timers")
  full.no_timers = nil
  local after = full.ask()
  loop.run()
  waits(after)
  check.equal(#full.peers, 1)
end)

check.case("a connection that takes nothing more refuses those who wait", function()
  local scene = worker()
  local one = scene.ask()
  loop.run()
  scene.peers[1].shut = true
  local other = scene.ask()
  loop.run(1)
  refused(one, "closed")
  refused(other, "closed")
end)

check.case("servers at two paths have a channel each", function()
  local scene = worker()
  local one, other = scene.ask(), loop.request(channel.exchange, scene.socket .. "-other", message("word"))
  loop.run()
  check.equal(#scene.peers, 2)
  check.equal(scene.peers[2].path, "unix:" .. scene.socket .. "-other")
  scene.peers[1]:close()
  loop.run()
  refused(one, "closed")
  waits(other)
end)

check.case("a thousand requests, each answered with its own word, leave nothing behind", function()
  local scene = worker()
  local asked = {}
  for i = 1, 1000 do
    asked[i] = scene.ask(("%04d"):format(i))
  end
  loop.run()
  check.equal(#scene.peers[1].sent, 1)
  for _, seen in ipairs(scene.requests()) do
    scene.peers[1]:deliver(msgpack.answer(seen.id, json.encode({ word = seen.argument })))
  end
  loop.run()
  for i = 1, 1000 do
    answered(asked[i], json.encode({ word = ("%04d"):format(i) }))
  end
  scene.peers[1]:deliver(msgpack.answer(0, "{}"))
  loop.run(1)
  check.equal(scene.peers[1].left, true)
end)

check.done()
