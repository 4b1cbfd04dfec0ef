--- Sends one JSON body over and over, and prints what was measured as JSON on the last line.

local body = assert(os.getenv("BENCH_BODY"))

wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer " .. assert(os.getenv("BENCH_KEY"))
wrk.body = body

function done(summary, latency)
  local errors = summary.errors
  io.write(("\n{\"requests\":%d,\"microseconds\":%d,\"p50\":%d,\"p99\":%d,\"refused\":%d,\"broken\":%d}\n"):format(
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
