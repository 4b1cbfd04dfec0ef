-- Writing counters back.

local LEAST_TTL = 60000

-- Adds a counter to `written`, fields and values in turn. Returns until when its hash must live, 0 when it does anyway.
local function add_to(written, c)
  local renewed = 0
  local needed = forgettable_at(c)
  if needed > c[EXPIRES] then
    -- With a slack, so that not every request has to renew it.
    renewed = max(needed + ceil(c[WINDOW] / SLOTS_PER_WINDOW), now + LEAST_TTL)
    c[EXPIRES] = renewed
    if c[ALGORITHM] ~= SLIDING then c[CHANGED] = true end
  end
  local n = #written
  written[n + 1] = c[FIELD]
  if c[ALGORITHM] == SLIDING then
    written[n + 2] = cmsgpack.pack(c[AT], c[LIFE], c[EXPIRES], c[AMOUNT], c[USED], c[NEW])
  else
    written[n + 2] = cmsgpack.pack(c[AT], c[LIFE], c[EXPIRES], c[AMOUNT])
  end
  if c[CHANGED] then
    written[n + 3] = behind_field(c)
    written[n + 4] = cmsgpack.pack(c[ALGORITHM], c[LIMIT], c[WINDOW], c[BURST], unpack(c[BEHIND] or {}))
  end
  return renewed
end

local function write(hash, written, expires)
  redis.call('HSET', hash, unpack(written))
  if expires > 0 and redis.call('PTTL', hash) < expires - now then redis.call('PEXPIRE', hash, expires - now) end
end
