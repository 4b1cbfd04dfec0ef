/** Judges all claims at once and takes from all of them, or from none: `admission.ts` and `spread.ts`, line by line. */
export const reserve = `
-- Of a claim, behind its counter.
local MODE, INPUT, WANT, LEAST = 15, 16, 17, 18
local INFINITE = -2
local MAX_MEMBERS, PRUNE_EVERY = 64, 1000

local function retry_after_ms(c, amount)
  local limit, window = c[LIMIT], c[WINDOW]
  if c[ALGORITHM] == SLIDING then
    if amount > limit then return INFINITE end
    local debt_ms = ceil(c[AMOUNT] / limit) * window
    local used, slot = c[USED], slot_of(c, c[AT])
    if used <= limit - amount then return debt_ms end
    for left = slot - SLOTS_PER_WINDOW, slot do
      used = used - booked_in(c, left)
      if used <= limit - amount then return until_slot(c, left + LIVE_SLOTS) + debt_ms end
    end
    return INFINITE
  end
  if c[ALGORITHM] == FIXED then
    if amount > limit then return INFINITE end
    local over = c[AMOUNT] + amount - limit
    if over <= 0 then return 0 end
    return (floor(c[AT] / window) + max(1, ceil(over / limit))) * window - c[AT]
  end
  if amount > c[BURST] then return INFINITE end
  return max(0, ceil((amount * window - c[AMOUNT]) / limit))
end

-- By hash: fields of counters that other claims of the request are about to make.
local joining = {}

-- Drops the members that count nothing. That is dear: when none does, the first element says when to look again.
local function prune(owner, members, algorithm, limit, window, burst, hash)
  local kept, packed = { 0 }, redis.call('HMGET', hash, unpack(members, 2))
  for index = 2, #members do
    if packed[index - 1] then
      local c = load(packed[index - 1], algorithm, limit, window, burst, hash, members[index])
      if idle(c) then
        redis.call('HDEL', hash, c[FIELD], behind_field(c))
      else
        kept[#kept + 1] = c[FIELD]
      end
    elseif joining[hash] and joining[hash][members[index]] then
      kept[#kept + 1] = members[index]
    end
  end
  if #kept > MAX_MEMBERS then kept[1] = now + PRUNE_EVERY end
  redis.call('HSET', hash, owner, cmsgpack.pack(kept))
  return kept
end

-- By hash and owner: the members as other claims of the request left them.
local members_of = {}

-- The members that a new counter would join, and whether it is one of them; nil when there is no place for it.
local function members_for(owner, algorithm, limit, window, burst, hash, field)
  members_of[hash] = members_of[hash] or {}
  local members = members_of[hash][owner]
  if not members then
    local packed = redis.call('HGET', hash, owner)
    members = packed and cmsgpack.unpack(packed) or { 0 }
  end
  for index = 2, #members do
    if members[index] == field then return members, true end
  end
  local wait = members[1] - now
  if #members > MAX_MEMBERS and (wait <= 0 or wait > PRUNE_EVERY) then
    members = prune(owner, members, algorithm, limit, window, burst, hash)
  end
  members_of[hash][owner] = members
  return #members <= MAX_MEMBERS and members or nil, false
end

local position = before + 1 + n
local counters, joined, overflowed, again, shared = {}, {}, {}, {}, {}
local clipped, clip_floor, short = math.huge, 0, false
if other_clip ~= '' then clipped, clip_floor = other_clip + 0, other_floor end

for index = 1, n do
  local mode, limit, window = ARGV[position] + 0, ARGV[position + 1] + 0, ARGV[position + 2] + 0
  local input, want = ARGV[position + 3] + 0, ARGV[position + 4] + 0
  position = position + 5
  local algorithm = mode % CLIP
  local hash, field = KEYS[floor(mode / HASH_STEP) + 1], ARGV[before + index]
  local packed = redis.call('HGET', hash, field)
  local least, burst = false, limit
  if mode % SHADOW >= CLIP then
    least = ARGV[position] + 0
    position = position + 1
  end
  if algorithm ~= FIXED and algorithm ~= SLIDING then
    burst = ARGV[position] + 0
    position = position + 1
  end
  if mode % HASH_STEP >= SPREAD then
    if not packed then
      local owner = ARGV[position + 1]
      local members, known = members_for(owner, algorithm, limit, window, burst, hash, field)
      if not members then
        overflowed[index] = true
        field = ARGV[position]
        packed = redis.call('HGET', hash, field)
        shared[hash] = shared[hash] or {}
        again[index], shared[hash][field] = shared[hash][field], true
      elseif not known then
        members[#members + 1] = field
        joining[hash] = joining[hash] or {}
        joining[hash][field] = true
        joined[index] = { owner, members }
      end
    end
    position = position + 2
  end
  local c
  if packed then
    c = load(packed, algorithm, limit, window, burst, hash, field)
  else
    c = begin(algorithm, limit, window, burst, hash, field)
  end
  c[MODE], c[INPUT], c[WANT], c[LEAST] = mode, input, want, least
  counters[index] = c
  local free = room(c) - input
  if mode % SPREAD < SHADOW and free < want then
    if least and free >= least then
      clipped, clip_floor = min(clipped, free), max(clip_floor, least)
    else
      short = true
    end
  end
end

local admitted = not short and clipped >= clip_floor
local reply = { admitted and 1 or 0, clipped < math.huge and clipped or -1, clip_floor }

for index, c in ipairs(counters) do
  local input, want, least = c[INPUT], c[WANT], c[LEAST]
  local free = room(c) - input
  if admitted then want = min(want, clipped) end
  if not least then
    least = want
  elseif c[MODE] % SPREAD < SHADOW then
    least = min(want, max(least, clip_floor))
  else
    least = min(want, least)
  end
  local fits, reserved = free >= least, 0
  if admitted and fits then reserved = input + min(want, free) end
  if reserved > 0 then take(c, reserved) end
  local last = #reply
  reply[last + 1], reply[last + 2], reply[last + 3] = overflowed[index] and 1 or 0, c[AT], c[LIFE]
  reply[last + 4], reply[last + 5], reply[last + 6] = reserved, remaining(c), min(FAR, reset_ms(c))
  reply[last + 7] = fits and -1 or min(FAR, retry_after_ms(c, input + least))
  -- A counter that nobody took from is not made, and one that several claims share is taken from once.
  if not again[index] and (reserved > 0 or c[EXPIRES] > 0) then
    local written = {}
    local expires = add_to(written, c)
    if joined[index] then
      written[#written + 1] = joined[index][1]
      written[#written + 1] = cmsgpack.pack(joined[index][2])
    end
    redis.call('HSET', c[HASH], unpack(written))
    keep(c[HASH], expires)
  end
end
return reply
`
