--- Runs the tap over cases from standard input, one JSON object a line: `{plan, pieces}`, pieces in hexadecimal.
-- Prints `{out, report}` for each.

require "kong"({})
local json = require "json"
local tap = require "kong.plugins.llm-edge.tap"

local function from_hex(text)
  return (text:gsub("%x%x", function(pair)
    return string.char(tonumber(pair, 16))
  end))
end

local function to_hex(text)
  return (text:gsub(".", function(char)
    return ("%02x"):format(char:byte())
  end))
end

for line in io.lines() do
  local case = json.decode(line)
  local state, out = tap.new(case.plan), {}
  for _, piece in ipairs(case.pieces) do
    out[#out + 1] = tap.feed(state, from_hex(piece), false)
  end
  out[#out + 1] = tap.feed(state, "", true)
  print(json.encode({ out = to_hex(table.concat(out)), report = state.report }))
end
