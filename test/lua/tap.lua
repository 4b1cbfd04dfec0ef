--- The stream tap, on streams in the shapes of OpenAI's and Anthropic's documentation, cut at every place.

local check = require "check"
require "kong"({})
local json = require "json"
local tap = require "kong.plugins.llm-edge.tap"

local OPENAI_PLAN = {
  protocol = "openai-chat", stream = true, withhold_usage = true, usage_mark = '"usage"', usage_paths = { "usage" },
  usage_member = "usage", text_keys = { "content", "arguments" }, skip_keys = { "usage" },
  token_weights = { 0.25, 0.5, 1, 1 },
  final_template = 'data: {"id":{{first.id}},"choices":[],"missing":{{last.no.such}},"n":{{tokens}}}\n\ndata: [DONE]\n\n',
}
local ANTHROPIC_PLAN = {
  protocol = "anthropic-messages", stream = true, withhold_usage = false, usage_mark = '"usage"',
  usage_paths = { "usage", "message.usage" }, usage_member = "usage", text_keys = { "text", "partial_json" },
  skip_keys = { "usage" }, final_types = { "message_stop" }, token_weights = { 0.25, 0.5, 1, 1 }, final_template = "",
}

local function event(text)
  return "data: " .. text .. "\n\n"
end

local HEAD = event '{"id":"c-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":""}}],"usage":null}'
local HELLO = event '{"id":"c-1","choices":[{"index":0,"delta":{"content":"Grüße, 世界 😀 \\"usage\\":{}"}}],"usage":null}'
local STOP = event '{"id":"c-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}'
local USAGE = '{"id":"c-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":9,"total_tokens":16}}'
local DONE = event "[DONE]"
local OPENAI = ": keep-alive\n\n" .. HEAD .. HELLO .. STOP .. event(USAGE) .. DONE
local OPENAI_SEEN = ": keep-alive\n\n" .. HEAD .. HELLO .. STOP .. DONE

local ANTHROPIC = table.concat({
  'event: message_start\ndata: {"type":"message_start","message":{"id":"m-1","content":[],'
    .. '"usage":{"input_tokens":25,"output_tokens":1}}}',
  'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
  'event: ping\ndata: {"type": "ping"}',
  'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hé!"}}',
  'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}',
  'event: message_stop\ndata: {"type":"message_stop"}\n\n',
}, "\n\n")

local function run(plan, pieces)
  local state, out = tap.new(plan), {}
  for i, piece in ipairs(pieces) do
    local sent, over = tap.feed(state, piece, i == #pieces)
    out[#out + 1] = sent
    if over then
      break
    end
  end
  return table.concat(out), state.report
end

local function at_every_place(text, see)
  for i = 0, #text do
    see({ text:sub(1, i), text:sub(i + 1), "" }, i)
  end
  local bytes = {}
  for i = 1, #text do
    bytes[i] = text:sub(i, i)
  end
  see(bytes, "every byte")
end

local function endings(text, ending)
  return (text:gsub("\n", ending))
end

check.case("withholds the usage event and only it, however the stream is cut", function()
  for _, ending in ipairs({ "\n", "\r\n", "\r" }) do
    at_every_place(endings(OPENAI, ending), function(pieces, at)
      local out, report = run(OPENAI_PLAN, pieces)
      check.equal(out, endings(OPENAI_SEEN, ending), "sent, cut at " .. at)
      check.equal(table.concat(report.events, "|"), USAGE, "events, cut at " .. at)
      check.equal(report.ended, "final")
      check.equal(table.concat(report.characters, " "), "17 2 2 1", "characters, cut at " .. at)
      check.equal(report.fault, nil)
    end)
  end
end)

check.case("collects both halves and passes every byte at once where nothing is withheld", function()
  at_every_place(ANTHROPIC, function(pieces, at)
    local state = tap.new(ANTHROPIC_PLAN)
    for i, piece in ipairs(pieces) do
      check.equal(tap.feed(state, piece, i == #pieces), piece, "piece " .. i .. " of the cut at " .. at)
    end
    check.equal(#state.report.events, 3)
    check.equal(state.report.events[1]:match('"input_tokens":25') ~= nil, true)
    check.equal(state.report.events[2], '{"text":"."}', "text behind the first half")
    check.equal(state.report.events[3]:match('"output_tokens":15') ~= nil, true)
    check.equal(state.report.ended, "final")
    check.equal(table.concat(state.report.characters, " "), "2 1 0 0")
  end)
end)

check.case("holds a partial event back only while it can be the usage event", function()
  local state = tap.new(OPENAI_PLAN)
  check.equal(tap.feed(state, 'data: {"id":"c-1","choices":[', false), "")
  check.equal(tap.feed(state, '{"index":0,', false), 'data: {"id":"c-1","choices":[{"index":0,')
  check.equal(tap.feed(state, '"delta":{"content":"x"}}]}', false), '"delta":{"content":"x"}}]}')
  check.equal(tap.feed(state, "\n\ndata: {", false), "\n\n")
  check.equal(tap.feed(state, "", true), "data: {")
end)

check.case("a stream that breaks off has its usage and text counted so far", function()
  local state = tap.new(ANTHROPIC_PLAN)
  tap.feed(state, ANTHROPIC:sub(1, #ANTHROPIC - 40), false)
  check.equal(state.report.ended, "open")
  check.equal(#state.report.events, 3)
  check.equal(state.report.characters[1], 2)
end)

check.case("a last event without its empty line counts, and is withheld all the same", function()
  local out, report = run(OPENAI_PLAN, { HEAD .. "data: " .. USAGE:sub(1, 20), USAGE:sub(21) })
  check.equal(out, HEAD)
  check.equal(report.events[1], USAGE)
end)

check.case("an event of several data lines is one, a byte order mark is none", function()
  local first, second = USAGE:sub(1, 12), USAGE:sub(13)
  local text = "\239\187\191data:" .. first .. "\nid: 4\ndata: " .. second .. "\n\n" .. DONE
  at_every_place(text, function(pieces, at)
    local out, report = run(OPENAI_PLAN, pieces)
    -- A mark that came alone has passed before anything was known of what follows.
    check.equal(out:gsub("^[\239\187\191]+", ""), DONE, "cut at " .. at)
    check.equal(report.events[1], first .. "\n" .. second)
  end)
end)

check.case("what only looks like usage is neither believed nor withheld", function()
  for _, data in ipairs({
    '{"choices":[],"usage":[]}', '{"choices":{},"usage":{}}', '{"choices":[],"usage":7}', '{"choices":[],"usage":null}',
    '{"choices":[{"delta":{"content":"\\"usage\\":{\\"prompt_tokens\\":1},\\"choices\\":[]"}}]}', '{"choices":[],"usage":{}',
  }) do
    check.equal(run(OPENAI_PLAN, { event(data) }), event(data))
  end
end)

check.case("cuts a stream behind the event that crossed the limit, with the plan's own end", function()
  local plan = setmetatable({ max_output_tokens = 3 }, { __index = OPENAI_PLAN })
  local template = '{"id":"c-1","choices":[],"missing":null,"n":9}'
  at_every_place(OPENAI, function(pieces, at)
    local out, report = run(plan, pieces)
    check.equal(out, ": keep-alive\n\n" .. HEAD .. HELLO .. event(template) .. DONE, "cut at " .. at)
    check.equal(report.ended, "cut")
  end)
  local state = tap.new(plan)
  tap.feed(state, HEAD .. HELLO, false)
  check.equal(tap.feed(state, STOP, false), "", "after the cut")
end)

check.case("cuts a stream whose end was none", function()
  local plan = setmetatable({ max_output_tokens = 30 }, { __index = OPENAI_PLAN })
  local more = event('{"id":"c-1","choices":[{"delta":{"content":"' .. ("word "):rep(50) .. '"}}]}')
  local out, report = run(plan, { HELLO .. DONE, more, more, more })
  check.equal(report.ended, "cut")
  check.equal(select(2, out:gsub("word word", "")) < 60, true)
end)

check.case("holds back an event that may be too large, and sends it when it is whole", function()
  local plan = setmetatable({ max_output_tokens = 1000000, withhold_usage = false }, { __index = OPENAI_PLAN })
  local state = tap.new(plan)
  check.equal(tap.feed(state, HELLO:sub(1, 20), false), "")
  check.equal(tap.feed(state, HELLO:sub(21), false), HELLO)
  for _ = 1, 5 do
    check.equal(tap.feed(state, 'data: {"choices":[{"delta":{"content":"' .. ("x"):rep(200000), false), "")
  end
  local out, over = tap.feed(state, ("x"):rep(200000), false)
  check.equal(over, true)
  check.equal(out:find("xxx", 1, true), nil, "nothing of it is sent")
  check.equal(state.report.ended, "cut")
end)

check.case("lets an event of any size pass where nothing is to be cut", function()
  local state = tap.new(setmetatable({ withhold_usage = false }, { __index = OPENAI_PLAN }))
  local piece = 'data: {"choices":[{"delta":{"content":"' .. ("x"):rep(2000000)
  check.equal(tap.feed(state, piece, false), piece)
end)

check.case("an event over 1 MiB passes unread, the next one is read again", function()
  local huge = event('{"choices":[{"delta":{"content":"' .. ("x"):rep(1048576) .. '"}}],"usage":{"a":1}}')
  local pieces, text = {}, huge .. event(USAGE) .. DONE
  for i = 1, #text, 4096 do
    pieces[#pieces + 1] = text:sub(i, i + 4095)
  end
  local out, report = run(OPENAI_PLAN, pieces)
  check.equal(#out, #huge + #DONE)
  check.equal(table.concat(report.events, "|"), USAGE)
  check.equal(report.characters, nil)
end)

check.case("a large event with usage is kept small", function()
  local text = event('{"type":"message_start","message":{"pad":"' .. ("x"):rep(70000) .. '","usage":{"input_tokens":3}}}')
  local _, report = run(ANTHROPIC_PLAN, { text })
  check.equal(report.events[1], '{"message":{"usage":{"input_tokens":3}},"type":"message_start"}')
end)

check.case("keeps the first usage event and the last three", function()
  local text = {}
  for i = 1, 9 do
    text[i] = event('{"choices":[{}],"usage":{"n":' .. i .. "}}")
  end
  local _, report = run(OPENAI_PLAN, { table.concat(text) })
  check.equal(table.concat(report.events, " "):gsub("[^%d ]", ""), "1 7 8 9")
end)

check.case("finds the usage of a JSON reply at its top, however it is cut", function()
  local reply = '{"usage" :{"prompt_tokens":1}, "data":[{"usage":{"prompt_tokens":2}},"usage",[0.1,-2e5]],"s":"usage",'
    .. '"t":"\\\\\\"usage\\":{","usage": {"prompt_tokens":8,"s":"}\\"{"} ,"z":[{}]}'
  at_every_place(reply, function(pieces, at)
    local out, report = run(ANTHROPIC_PLAN, pieces)
    check.equal(out, reply)
    check.equal(json.decode(report.usage_json).prompt_tokens, 8, "cut at " .. at)
    check.equal(report.ended, "final")
  end)
  local _, open = run(ANTHROPIC_PLAN, { reply:sub(1, -2) })
  check.equal(open.ended, "open")
end)

check.case("a JSON reply in one piece says what it says in two", function()
  for _, reply in ipairs({
    '{"a":{"usage":{"n":1}}}', '{"usage":null}', '{"usage":false}', '{"usage":{"m":{},"n":[]}} \n\n', '{"usage":3}',
    '{"usage":{"n":1}}{"usage":{"n":2}}', '{"usage":{"n":1}}\n{"usage":{"n":2}}\n', '{"usage":{"n":1}}}', '{}', '{"usage"}',
    '{"usage":{"n":1},"usage":{"n":2}}', '\239\187\191{"usage":{"n":1}}', '{"usage":{"n":1},}', "{'usage':{\"n\":1}}",
  }) do
    local out, whole = run(OPENAI_PLAN, { reply, "" })
    local _, halves = run(OPENAI_PLAN, { reply:sub(1, 1), reply:sub(2), "" })
    check.equal(out, reply)
    check.equal(whole.usage_json, halves.usage_json, reply)
    check.equal(whole.ended, halves.ended, reply)
  end
  local _, behind = run(OPENAI_PLAN, { '{"usage":{"n":1}}', '\n{"usage":{"n":2}}' })
  check.equal(behind.usage_json, '{"n":2}')
end)

check.case("the objects of a list are events", function()
  local first, second = '{"usage":{"n":1},"text":"é]"}', '{"a":[{"text":"ab","usage":{"n":2}}]}'
  local reply = "[" .. first .. ",\r\n" .. second .. "\n]"
  at_every_place(reply, function(pieces, at)
    local out, report = run(ANTHROPIC_PLAN, pieces)
    check.equal(out, reply)
    check.equal(table.concat(report.events, "|"), first .. "|" .. second, "cut at " .. at)
    check.equal(table.concat(report.characters, " "), "3 1 0 0")
    check.equal(report.ended, "final")
  end)
  local plan = setmetatable({ max_output_tokens = 0.5, final_template = 'data: {"n":{{tokens}}}\r\n\r\n' },
    { __index = ANTHROPIC_PLAN })
  at_every_place(reply, function(pieces, at)
    local out, report = run(plan, pieces)
    check.equal(out, "[" .. first .. ',{"n":1}]', "cut at " .. at)
    check.equal(report.ended, "cut")
  end)
end)

check.case("what a reply is, its first byte says", function()
  local _, stream = run(OPENAI_PLAN, { "\239\187\191", "\r\n", event(USAGE) })
  check.equal(stream.events[1], USAGE)
  local _, whole = run(OPENAI_PLAN, { " \n", "\t", USAGE })
  check.equal(json.decode(whole.usage_json).total_tokens, 16)
end)

check.case("finds the usage behind 16 MB of embeddings, and drops one that is absurdly large", function()
  local piece = ("0.0123456789,"):rep(5000)
  local pieces = { '{"object":"list","data":[{"embedding":[' }
  for i = 2, 257 do
    pieces[i] = piece
  end
  pieces[#pieces + 1] = '0]}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}\n'
  local _, report = run(OPENAI_PLAN, pieces)
  check.equal(json.decode(report.usage_json).total_tokens, 8)
  local _, absurd = run(OPENAI_PLAN, { '{"usage":{"a":"', piece, piece, '"}}' })
  check.equal(absurd.usage_json, nil)
end)

check.case("a fault delivers every byte and is reported", function()
  local state = tap.new(OPENAI_PLAN)
  check.equal(tap.feed(state, "data: {", false), "")
  state.plan = setmetatable({}, { __index = function() error("broken") end })
  check.equal(tap.feed(state, "}\n\n", false), "data: {}\n\n")
  check.equal(state.report.fault:match("broken"), "broken")
  check.equal(tap.feed(state, "rest", true), "rest")
end)

check.done()
