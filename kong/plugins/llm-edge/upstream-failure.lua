--- Says that a request failed behind the plugins: nginx's own line about it holds the request line, and is switched off.
-- Of a request it holds nothing but Kong's id, and no flood of failures becomes one of lines.

local say = require "kong.plugins.llm-edge.say"

local MOST_A_SECOND, MOST_SERVICES = 5, 10
--- nginx's variables of every try, and what they are called here. A time is `-` where it never came to that.
local TRIES = {
  { "upstream", "upstream_addr" }, { "answered", "upstream_status" },
  { "connected after", "upstream_connect_time" }, { "headers after", "upstream_header_time" },
}

--- What went without a line of its own, by service.
local left_out, left_out_count, waiting = {}, 0, false
local second, lines = 0, 0

--- `report` is that of handler.lua. Nil when nothing failed, or the pack refused and said why itself.
local function failure_of(report)
  if report.status >= 500 and report.source ~= "service" then
    local what = report.contacted and "no reply from the upstream" or "failed without asking the upstream"
    return not kong.ctx.shared.portcullis_refusal and what or nil
  elseif report.broken_by == "upstream" then
    return "the upstream broke its reply off"
  elseif report.contacted and report.status < 100 then
    return "what the upstream sent is no HTTP"
  end
  local tries = ngx.ctx.balancer_data
  return tries and (tries.try_count or 0) > 1 and "the upstream took more than one try" or nil
end

local function name_of(entity)
  return entity and (entity.name or entity.id) or "-"
end

local function tell_left_out()
  local names, told = {}, {}
  for name in pairs(left_out) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b) return left_out[a] > left_out[b] end)
  for i = 1, math.min(#names, MOST_SERVICES) do
    told[i] = ("%s %d times"):format(names[i], left_out[names[i]])
  end
  say(("%d more requests failed: %s%s"):format(
    left_out_count, table.concat(told, ", "), #names > MOST_SERVICES and ", and other services" or ""))
  left_out, left_out_count, waiting = {}, 0, false
end

local function leave_out(service)
  left_out[service], left_out_count = (left_out[service] or 0) + 1, left_out_count + 1
  -- Without a timer to be had the next one tries again.
  waiting = waiting or (_G.native_timer_at or ngx.timer.at)(1, tell_left_out)
end

return function(report)
  local failure = failure_of(report)
  if not failure then
    return
  end
  local service = name_of(kong.router.get_service())
  if second ~= ngx.time() then
    second, lines = ngx.time(), 0
  end
  lines = lines + 1
  if lines > MOST_A_SECOND then
    return leave_out(service)
  end
  local parts = {
    ("%s: status %d, service %s, route %s"):format(
      failure, report.status, service, name_of(kong.router.get_route())),
  }
  for _, try in ipairs(TRIES) do
    local value = ngx.var[try[2]]
    parts[#parts + 1] = value and ("%s: %s"):format(try[1], value)
  end
  parts[#parts + 1] = "request_id: " .. tostring(ngx.var.kong_request_id)
  say(table.concat(parts, ", "))
end
