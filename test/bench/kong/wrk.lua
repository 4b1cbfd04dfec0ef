--- Sends JSON bodies of other words each, and prints what was measured as JSON on the last line.

local body = assert(os.getenv("BENCH_BODY"))
--- More than anybody remembers: a prompt that came before may cost less.
local DIFFERENT = 8192
local WORDS = {}
for word in ([[the quick brown fox jumps over a lazy dog while nobody asks why this summary of quarterly figures should be
  shorter than its translation into French or what the customer wrote about their order last week]]):gmatch("%a+") do
  WORDS[#WORDS + 1] = word
end
local requests, turn = {}, 0

local function some_words()
  local picked = {}
  for i = 1, 330 do
    picked[i] = WORDS[math.random(#WORDS)]
  end
  return table.concat(picked, " ")
end

wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer " .. assert(os.getenv("BENCH_KEY"))

function init()
  for i = 1, DIFFERENT do
    requests[i] = wrk.format(nil, nil, nil, (body:gsub("{{words}}", some_words)))
  end
end

function request()
  turn = turn % DIFFERENT + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(("\n{\"requests\":%d,\"microseconds\":%d,\"p50\":%d,\"p99\":%d,\"refused\":%d,\"broken\":%d}\n"):format(
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
