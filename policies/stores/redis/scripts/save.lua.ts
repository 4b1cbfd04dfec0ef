/** Writing counters back, and letting their hashes expire when nothing in them counts any more. */
export const save = `
local LEAST_TTL = 60000

-- From when on forgetting the counter changes no decision: it is whole, and nothing of it can be refunded any more.
local function forgettable_at(c)
  local at, limit, window = c[AT], c[LIMIT], c[WINDOW]
  if c[ALGORITHM] == SLIDING then
    local kept = ceil(window * LIVE_SLOTS / SLOTS_PER_WINDOW)
    if c[AMOUNT] > 0 then kept = max(kept, until_slot(c, slot_of(c, at) + LIVE_SLOTS * ceil(c[AMOUNT] / limit))) end
    return at + kept
  end
  if c[ALGORITHM] == FIXED then return at + reset_ms(c) end
  return at + max(ceil(c[BURST] * window / limit), reset_ms(c))
end

-- Adds a counter to a list of fields and values. Returns until when its hash must live, or 0 when it does anyway.
-- That may be needed for longer than the counter itself.
local function add_to(written, c, must_live)
  local renewed, needed = 0, min(FAR, max(forgettable_at(c), must_live or 0))
  if needed > c[EXPIRES] then
    -- With a slack, so that not every request has to renew it, and a clock may step back a little.
    renewed = min(FAR, max(needed + ceil(c[WINDOW] / SLOTS_PER_WINDOW), (must_live or now) + LEAST_TTL))
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

local function keep(hash, expires)
  if expires > 0 and redis.call('PTTL', hash) < expires - now then redis.call('PEXPIRE', hash, expires - now) end
end
`
