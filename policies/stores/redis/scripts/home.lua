-- A hash holds the counters of one caller, or one counter without a caller part: field `c` and the rest of its key,
-- beside `x`, when the hash may expire, `o` and an owner with that owner's spread fields, `m` and marks of settlements.
local DEADLINE = 'x'
local LEAST_TTL = 60000

local clock = redis.call('TIME')
local now = ARGV[1] == '' and clock[1] * 1000 + floor(clock[2] / 1000) or tonumber(ARGV[1])
-- Tells one life of a counter from the next. Never 0, and short when packed.
local epoch = (clock[1] * 1000000 + clock[2]) % 2147483647 + 1

-- Writes `fields`, a flat list, and keeps the hash until `deadline`. A slack saves renewing the expiry every time.
local function write(home, fields, deadline, old_deadline, slack)
  if deadline > old_deadline then
    deadline = max(deadline + slack, now + LEAST_TTL)
    fields[#fields + 1] = DEADLINE
    fields[#fields + 1] = deadline
  end
  redis.call('HSET', home, unpack(fields))
  if deadline > old_deadline then redis.call('PEXPIRE', home, deadline - now) end
end
