--- Reads a reply as it passes: collects usage, counts text, withholds and ends what the plan says. Knows no protocol.
-- The plan is a `TapWire`, the report a `TapReport` of policies/llm/tap.ts.

local cjson = require("cjson.safe").new()
cjson.decode_array_with_array_mt(true)

local byte, find, gsub, sub = string.byte, string.find, string.gsub, string.sub
local concat, remove = table.concat, table.remove
local CR, LF = 13, 10
local MAX_EVENT, MAX_KEPT = 1048576, 65536

local _M = {}

local function set(list)
  local members = {}
  for _, item in ipairs(list) do
    members[item] = true
  end
  return members
end

local function is_array(value)
  return type(value) == "table" and getmetatable(value) == cjson.array_mt
end

local function member(value, path)
  for key in path:gmatch("[^.]+") do
    if type(value) ~= "table" then
      return nil
    end
    value = value[key]
  end
  return value
end

--- Counts the characters of generated text by their length in UTF-8, told by the first byte of each; says if there are any.
local function count_text(tap, value)
  local found = false
  for key, child in pairs(value) do
    local kind = not tap.skip_keys[key] and type(child)
    if kind == "table" then
      found = count_text(tap, child) or found
    elseif kind == "string" and child ~= "" and tap.text_keys[key] then
      local counts = tap.report.characters or { 0, 0, 0, 0 }
      local _, two = gsub(child, "[\192-\223]", "")
      local _, three = gsub(child, "[\224-\239]", "")
      local _, four = gsub(child, "[\240-\255]", "")
      counts[1] = counts[1] + #child - 2 * two - 3 * three - 4 * four
      counts[2], counts[3], counts[4] = counts[2] + two, counts[3] + three, counts[4] + four
      tap.report.characters = counts
      found = true
    end
  end
  return found
end

--- Keeps the first event that may carry usage and the last three, large ones without what nobody reads.
local function keep(tap, data, event)
  if #data > MAX_KEPT then
    local small = { type = event.type }
    for _, path in ipairs(tap.plan.usage_paths) do
      local at, parents, last = small, path:match("^(.-)%.?([^.]+)$")
      for key in parents:gmatch("[^.]+") do
        at[key] = at[key] or {}
        at = at[key]
      end
      at[last] = member(event, path)
    end
    data = cjson.encode(small)
  end
  local events = tap.report.events or {}
  events[#events + 1] = data
  if #events > 4 then
    remove(events, 2)
  end
  tap.report.events = events
end

local function may_hold(plan)
  return plan.withhold_usage or plan.max_output_tokens ~= nil
end

local function estimate(tap)
  local tokens = 0
  for class, count in ipairs(tap.report.characters or {}) do
    tokens = tokens + count * tap.plan.token_weights[class]
  end
  return tokens
end

--- Says whether this event must "pass", be "drop"ped, or be the last one before a "cut".
local function learn(tap, data)
  local plan, event = tap.plan, cjson.decode(data)
  if type(event) ~= "table" then
    tap.report.ended = data == "[DONE]" and "final" or tap.report.ended
    return "pass"
  end
  local _, mark = find(data, plan.usage_mark, 1, true)
  if mark and not find(data, "^%s*:%s*null", mark + 1) then
    keep(tap, data, event)
    tap.behind = false
    if plan.withhold_usage and tap.holds and type(event.usage) == "table" and not is_array(event.usage)
      and is_array(event.choices) and #event.choices == 0 then
      return "drop"
    end
  end
  tap.first, tap.last = tap.first or event, event
  -- Text behind an end, or behind a figure of the output, shows that it was none.
  if count_text(tap, event) then
    tap.report.ended = "open"
    if tap.behind == false and not mark then
      keep(tap, tap.some_text, event)
      tap.behind = true
    end
  end
  if tap.final_types[event.type] then
    tap.report.ended = "final"
  end
  local limit = tap.report.ended ~= "final" and plan.max_output_tokens
  return limit and estimate(tap) > limit and "cut" or "pass"
end

--- The plan's final events, filled in from the first event and the last one that passed.
local function final_events(tap)
  local text = gsub(tap.plan.final_template, "{{tokens}}", ("%d"):format(math.ceil(estimate(tap))))
  return (gsub(text, "{{(%a+)%.([%w_.]+)}}", function(source, path)
    local value = member(source == "first" and tap.first or tap.last, path)
    return cjson.encode(value == nil and cjson.null or value)
  end))
end

--- Takes a piece of the current line; says, where the line is complete, whether it ended an event.
local function take(tap, piece, complete)
  tap.size, tap.width = tap.size + #piece, tap.width + #piece
  if tap.size <= MAX_EVENT then
    tap.line[#tap.line + 1] = piece
  end
  if not complete then
    return false
  end
  local text, width = concat(tap.line), tap.width
  tap.line, tap.width = {}, 0
  if not tap.begun then
    tap.begun, text = true, gsub(text, "^[\187\191\239]+", "")
  end
  tap.data[#tap.data + 1] = text:match("^data: ?(.*)$")
  return width == 0
end

local function end_event(tap)
  local data, size = concat(tap.data, "\n"), tap.size
  tap.data, tap.size = {}, 0
  return size <= MAX_EVENT and learn(tap, data) or tap.plan.max_output_tokens and "unread" or "pass"
end

--- Ends the stream behind what is in `out`.
local function cut(tap, out)
  tap.report.ended, tap.held = "cut", {}
  return concat(out) .. final_events(tap), true
end

--- Keeps back what has come of an event while it may be the one to withhold, or too large to be counted.
local function hold(tap, rest, eof)
  local held = tap.held
  held[#held + 1] = rest
  if not eof and tap.holds then
    if tap.plan.max_output_tokens then
      return ""
    end
    local all = concat(held)
    if #all <= MAX_KEPT and not find(all, '"choices"%s*:%s*%[%s*[^%]%s]') then
      tap.held = { all }
      return ""
    end
  end
  tap.holds, tap.held = false, {}
  return concat(held)
end

--- Returns what to send for this piece of a stream, and true once nothing may follow.
local function follow(tap, chunk, eof)
  local out, open, pos = {}, 1, 1
  if tap.after_cr and chunk ~= "" then
    if byte(chunk) == LF then
      pos, open = 2, tap.after_cr == "line" and 1 or 2
      out[1] = tap.after_cr == "pass" and "\n" or nil
    end
    tap.after_cr = nil
  end
  while true do
    local at = find(chunk, "[\r\n]", pos)
    if not at and not (eof and (tap.width > 0 or tap.data[1] or pos <= #chunk)) then
      break
    end
    local stop = at or #chunk
    local ended = take(tap, sub(chunk, pos, at and at - 1), true) or not at
    local cr = at and byte(chunk, at) == CR
    if cr and byte(chunk, at + 1) == LF then
      stop = at + 1
    end
    local verdict = ended and end_event(tap) or "line"
    tap.after_cr = cr and stop == #chunk and byte(chunk, stop) == CR and verdict or nil
    pos = stop + 1
    if ended then
      if verdict == "unread" then
        return cut(tap, out)
      elseif verdict ~= "drop" then
        out[#out + 1] = concat(tap.held)
        out[#out + 1] = sub(chunk, open, stop)
      end
      if verdict == "cut" then
        return cut(tap, out)
      end
      tap.held, tap.holds, open = {}, may_hold(tap.plan), pos
    end
  end
  take(tap, sub(chunk, pos), false)
  if eof and not tap.plan.final_types then
    tap.report.ended = "final"
  end
  if tap.size > MAX_EVENT and tap.plan.max_output_tokens then
    return cut(tap, out)
  end
  out[#out + 1] = hold(tap, sub(chunk, open), eof)
  return concat(out), false
end

--- Finds the usage member of a JSON reply of any size without keeping the rest; the objects of a list are events.
local function scan(tap, chunk)
  local pos, key_from, kept_from = 1, 1, 1
  if tap.escaped and chunk ~= "" then
    pos, tap.escaped = 2, false
  end
  while true do
    local top = tap.depth == 1 and not tap.list
    local at = find(chunk, tap.in_string and '["\\]' or top and '["{}%[%]:,]' or '["{}%[%]]', pos)
    if not at then
      break
    end
    local char = sub(chunk, at, at)
    pos = at + 1
    if char == "\\" then
      pos, tap.escaped = at + 2, at == #chunk
    elseif tap.in_string then
      tap.in_string = false
      tap.key = top and tap.key .. sub(chunk, key_from, at - 1)
    elseif char == '"' then
      tap.in_string, tap.key, key_from = true, "", pos
    elseif char == ":" then
      tap.kept, kept_from = tap.key == tap.plan.usage_member and "" or nil, pos
    elseif char == "{" or char == "[" then
      tap.list = tap.depth == 0 and char == "[" or tap.list
      tap.depth = tap.depth + 1
      if tap.list and tap.depth == 2 then
        tap.kept, kept_from = "", at
      end
    else
      local kept = tap.kept and tap.kept .. sub(chunk, kept_from, at - (tap.list and 0 or 1))
      if char ~= "," then
        tap.depth = tap.depth - 1
        tap.report.ended = tap.depth == 0 and "final" or tap.report.ended
      end
      if tap.list and tap.depth == 1 then
        tap.kept = nil
        if kept and learn(tap, kept) == "cut" then
          tap.report.ended = "cut"
          local rest = gsub(final_events(tap), "data: ([^\r\n]*)[\r\n]*", ",%1")
          return sub(chunk, 1, at) .. rest .. "]", true
        end
      elseif top then
        tap.report.usage_json, tap.kept = kept or tap.report.usage_json, nil
      end
    end
  end
  if tap.in_string and tap.depth == 1 and #tap.key <= 64 then
    tap.key = tap.key .. sub(chunk, key_from)
  end
  local kept = tap.kept and tap.kept .. sub(chunk, kept_from)
  local fits = kept and #kept <= (tap.list and MAX_EVENT or MAX_KEPT)
  tap.kept = fits and kept or nil
  if kept and not fits and tap.list and tap.plan.max_output_tokens then
    -- In the middle of an element there is no proper end.
    tap.report.ended = "cut"
    return "", true
  end
end

--- Reads a JSON reply that came in one piece, mostly a tenth of the work of a scan. Returns false for any other.
local function read_whole(tap, chunk)
  local value = #chunk <= MAX_KEPT and find(chunk, "}%s*$", -8) and cjson.decode(chunk)
  local usage = type(value) == "table" and value[tap.plan.usage_member]
  local text = usage ~= nil and cjson.encode(usage)
  if not value or text == nil then
    return false
  end
  tap.report.usage_json, tap.report.ended = text or nil, "final"
  return true
end

--- Begins a tap on a reply. Its `report` is kept up to date, because a reply that breaks off has no last piece.
function _M.new(plan)
  -- The same for every reply that follows this plan.
  local lookups = plan.lookups or {
    text_keys = set(plan.text_keys), skip_keys = set(plan.skip_keys), final_types = set(plan.final_types or {}),
    some_text = plan.text_keys[1] and cjson.encode({ [plan.text_keys[1]] = "." }),
  }
  plan.lookups = lookups
  return {
    plan = plan, report = { ended = "open" },
    text_keys = lookups.text_keys, skip_keys = lookups.skip_keys, final_types = lookups.final_types,
    some_text = lookups.some_text,
    line = {}, width = 0, data = {}, size = 0, held = {}, holds = may_hold(plan),
    depth = 0,
  }
end

--- Takes a piece of the reply; returns what to send instead, and true where the reply ends. Never throws.
function _M.feed(tap, chunk, eof)
  if tap.done then
    return "", true
  elseif tap.report.fault then
    return chunk, eof
  end
  -- What the reply is, its first byte says: an upstream may lie about its type, or answer a stream with an error.
  local opening = not tap.read and chunk:match("[^%z\1-\32\239\187\191]")
  tap.read = tap.read or opening and (find(opening, "[{%[]") and scan or follow)
  if opening == "{" and read_whole(tap, chunk) then
    return chunk, eof
  end
  if not tap.read then
    return chunk, eof
  end
  local held, count = tap.held, #tap.held
  local ok, out, done = pcall(tap.read, tap, chunk, eof)
  if not ok then
    tap.report.fault = tostring(out)
    return concat(held, "", 1, count) .. chunk, eof
  end
  tap.done = done
  return out or chunk, done or eof
end

return _M
