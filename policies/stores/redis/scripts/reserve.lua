-- Judges all claims at once and takes from all of them, or from none: policies/stores/admission.ts, line by line.
--
-- KEYS: the hashes.
-- ARGV: the time or ''; what other hashes clipped to, or ''; the number of claims; the field of each; then of each claim
-- its mode, limit, window, input and want, of a clipping one the floor, of a token bucket the burst, of a spread one the
-- fields of the overflow counter and of the owner; and last, with a clip of other hashes, the floor of that.
-- Returns admitted, clipped to or -1, the floor of the clips, then of each claim 1 when the overflow counter was used,
-- at, epoch, reserved, remaining, reset, and retry after: -1 when it fits, -2 when it never can.

-- A mode is the algorithm plus these, plus HASH_STEP for every hash before the claim's own.
local CLIP, SHADOW, SPREAD, HASH_STEP = 4, 8, 16, 32
-- Of a claim, behind its counter.
local MODE, INPUT, WANT, LEAST = 15, 16, 17, 18
local MAX_MEMBERS, PRUNE_EVERY = 64, 1000

local function retry_after_ms(c, amount)
  local algorithm, limit, window = c[ALGORITHM], c[LIMIT], c[WINDOW]
  if algorithm == SLIDING then
    if amount > limit then return INFINITE end
    local debt_ms = ceil(c[AMOUNT] / limit) * window
    local used = c[USED]
    if used <= limit - amount then return debt_ms end
    local slot = slot_of(c, c[AT])
    for left = slot - SLOTS_PER_WINDOW, slot do
      used = used - booked_in(c, left)
      if used <= limit - amount then return until_slot(c, left + SLOTS) + debt_ms end
    end
    return INFINITE
  end
  if algorithm == FIXED then
    if amount > limit then return INFINITE end
    local over = c[AMOUNT] + amount - limit
    if over <= 0 then return 0 end
    return (floor(c[AT] / window) + max(1, ceil(over / limit))) * window - c[AT]
  end
  if amount > c[BURST] then return INFINITE end
  return max(0, ceil((amount * window - c[AMOUNT]) / limit))
end

-- The members of an owner, after the time when to look again for such as count nothing, which is dear.
local function prune(owner, members, limit, algorithm, window, burst, hash)
  local kept, packed = { 0 }, redis.call('HMGET', hash, unpack(members, 2))
  for index = 2, #members do
    if packed[index - 1] then
      local c = revive(packed[index - 1], algorithm, limit, window, burst, hash, members[index])
      touch(c)
      if idle(c) then
        redis.call('HDEL', hash, c[FIELD], behind_field(c))
      else
        kept[#kept + 1] = c[FIELD]
      end
    end
  end
  if #kept > MAX_MEMBERS then kept[1] = now + PRUNE_EVERY end
  redis.call('HSET', hash, owner, cmsgpack.pack(kept))
  return kept
end

-- The members that a counter without a place would join; nil when there is no place for it.
local function members_for(owner, algorithm, limit, window, burst, hash, field)
  local packed = redis.call('HGET', hash, owner)
  local members = packed and cmsgpack.unpack(packed) or { 0 }
  for index = 2, #members do
    if members[index] == field then return {}, true end
  end
  local wait = members[1] - now
  if #members > MAX_MEMBERS and (wait <= 0 or wait > PRUNE_EVERY) then
    members = prune(owner, members, limit, algorithm, window, burst, hash)
  end
  return #members <= MAX_MEMBERS and members or nil
end

local n, many = ARGV[3] + 0, #KEYS > 1
local packed
if n == 1 then
  packed = { redis.call('HGET', KEYS[1], ARGV[4]) }
elseif not many then
  packed = redis.call('HMGET', KEYS[1], unpack(ARGV, 4, 3 + n))
end

local counters, joined, overflowed = {}, nil, nil
local clipped, clip_floor, short = math.huge, 0, false
if ARGV[2] ~= '' then clipped, clip_floor = ARGV[2] + 0, ARGV[#ARGV] + 0 end

local position = 4 + n
for index = 1, n do
  local mode, limit, window = ARGV[position] + 0, ARGV[position + 1] + 0, ARGV[position + 2] + 0
  local input, want = ARGV[position + 3] + 0, ARGV[position + 4] + 0
  position = position + 5
  local algorithm, clips, shadow = mode % CLIP, mode % SHADOW >= CLIP, mode % SPREAD >= SHADOW
  local hash, field = KEYS[floor(mode / HASH_STEP) + 1], ARGV[3 + index]
  local value, least, burst
  if many then value = redis.call('HGET', hash, field) else value = packed[index] end
  if clips then
    least = ARGV[position] + 0
    position = position + 1
  end
  if algorithm ~= FIXED and algorithm ~= SLIDING then
    burst = ARGV[position] + 0
    position = position + 1
  end
  if mode % HASH_STEP >= SPREAD then
    if not value then
      local members = members_for(ARGV[position + 1], algorithm, limit, window, burst, hash, field)
      if members then
        joined = joined or {}
        joined[index] = { ARGV[position + 1], members }
      else
        overflowed = overflowed or {}
        overflowed[index] = true
        field = ARGV[position]
        value = redis.call('HGET', hash, field)
      end
    end
    position = position + 2
  end
  local c
  if value then
    c = revive(value, algorithm, limit, window, burst, hash, field)
    touch(c)
  else
    c = begin(algorithm, limit, window, burst, hash, field)
  end
  c[MODE], c[INPUT], c[WANT], c[LEAST] = mode, input, want, least
  counters[index] = c
  if not shadow then
    local free = room(c) - input
    if free < want then
      if clips and free >= least then
        clipped, clip_floor = min(clipped, free), max(clip_floor, least)
      else
        short = true
      end
    end
  end
end

local admitted = not short and clipped >= clip_floor
local reply = { admitted and 1 or 0, clipped < math.huge and clipped or -1, clip_floor }
local at = 3
local written, expires = {}, 0

for index = 1, n do
  local c = counters[index]
  local input, want, least = c[INPUT], c[WANT], c[LEAST]
  local free = room(c) - input
  if admitted and want > clipped then want = clipped end
  if not least then
    least = want
  elseif c[MODE] % SPREAD < SHADOW then
    least = min(want, max(least, clip_floor))
  else
    least = min(want, least)
  end
  local fits = free >= least
  local reserved = 0
  if admitted and fits then
    reserved = input + min(want, free)
    if reserved > 0 then take(c, reserved) end
  end
  reply[at + 1], reply[at + 2], reply[at + 3] = overflowed and overflowed[index] and 1 or 0, c[AT], c[LIFE]
  reply[at + 4], reply[at + 5], reply[at + 6] = reserved, remaining(c), reset_ms(c)
  reply[at + 7] = fits and -1 or retry_after_ms(c, input + least)
  at = at + 7
  -- A counter that nobody took from is not made.
  if reserved > 0 or c[EXPIRES] > 0 then
    if joined and joined[index] then
      local owner, members = joined[index][1], joined[index][2]
      members[#members + 1] = c[FIELD]
      redis.call('HSET', c[HASH], owner, cmsgpack.pack(members))
    end
    expires = max(expires, add_to(written, c))
    if many then
      write(c[HASH], written, expires)
      written, expires = {}, 0
    end
  end
end
if #written > 0 then write(KEYS[1], written, expires) end
return reply
