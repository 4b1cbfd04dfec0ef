-- Judges all claims at once and takes from all of them, or from none: policies/stores/admission.ts, line by line.
--
-- KEYS: the hashes.
-- ARGV: the time; what earlier hashes clipped to, or -1; the floor of those clips; then of each claim: hash, field,
-- algorithm, limit, window, burst, input, want, floor, flags, and of a spread one the overflow field and the owner field.
-- Returns admitted, clipped to or -1, floor; then of each claim: 1 when the overflow counter was used, at, epoch,
-- reserved, remaining, reset, and retry after, which is -1 when it fits and -2 when it never can.
local CLIP, SHADOW, SPREAD = 1, 2, 4
local MAX_MEMBERS = 64

local function idle(c)
  if c[ALGORITHM] == SLIDING then return c[AMOUNT] == 0 and booked(c) == 0 end
  if c[ALGORITHM] == FIXED then return c[AMOUNT] == 0 end
  return c[AMOUNT] >= c[BURST] * c[WINDOW]
end

local homes = {}
for index, key in ipairs(KEYS) do homes[index] = { key = key, fields = { DEADLINE } } end

local claims = {}
local position = 4
while ARGV[position] do
  local home = homes[tonumber(ARGV[position])]
  local flags = tonumber(ARGV[position + 9])
  local claim = {
    home = home, position = position, field = ARGV[position + 1], input = tonumber(ARGV[position + 6]),
    want = tonumber(ARGV[position + 7]), floor = tonumber(ARGV[position + 8]),
    clip = flags % 2 == 1, shadow = flags % 4 >= 2,
  }
  claims[#claims + 1] = claim
  local fields = home.fields
  fields[#fields + 1] = claim.field
  claim.read = #fields
  position = position + 10
  if flags >= SPREAD then
    claim.overflow, claim.owner = ARGV[position], ARGV[position + 1]
    fields[#fields + 1] = claim.overflow
    position = position + 2
  end
end

for _, home in ipairs(homes) do
  home.values = redis.call('HMGET', home.key, unpack(home.fields))
  home.written = {}
  home.deadline, home.slack = 0, 0
end

-- The owner's counters, without those that nobody would miss.
local function prune(home, members)
  local kept = {}
  local values = redis.call('HMGET', home.key, unpack(members))
  for index, field in ipairs(members) do
    local counter = values[index] and { cmsgpack.unpack(values[index]) }
    if counter then touch(counter, now, epoch) end
    if counter and not idle(counter) then
      kept[#kept + 1] = field
    elseif counter then
      redis.call('HDEL', home.key, field)
    end
  end
  return kept
end

-- Whether a counter that does not exist yet may be made: an owner has at most so many at a time.
local function may_begin(claim)
  local home = claim.home
  local packed = redis.call('HGET', home.key, claim.owner)
  local members = packed and cmsgpack.unpack(packed) or {}
  claim.members = members
  for _, field in ipairs(members) do
    if field == claim.field then
      claim.known = true
      return true
    end
  end
  if #members < MAX_MEMBERS then return true end
  claim.members = prune(home, members)
  if #claim.members < #members then
    home.written[#home.written + 1] = claim.owner
    home.written[#home.written + 1] = cmsgpack.pack(claim.members)
  end
  return #claim.members < MAX_MEMBERS
end

local clipped = tonumber(ARGV[2])
if clipped < 0 then clipped = math.huge end
local clip_floor = tonumber(ARGV[3])
local short = false

for _, claim in ipairs(claims) do
  local value = claim.home.values[claim.read]
  if claim.owner and not value and not may_begin(claim) then
    claim.field, claim.overflowed, claim.owner = claim.overflow, true, nil
    value = claim.home.values[claim.read + 1]
  end
  local at = claim.position
  local algorithm, limit = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local window, burst = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local c
  if value then
    c = { cmsgpack.unpack(value) }
    c[ALGORITHM], c[LIMIT], c[WINDOW], c[BURST] = algorithm, limit, window, burst
    touch(c, now, epoch)
  else
    c = begin(algorithm, limit, window, burst, now, epoch)
  end
  claim.existed, claim.counter = value, c
  if not claim.shadow then
    local free = room(c) - claim.input
    if free < claim.want then
      if claim.clip and free >= claim.floor then
        clipped = min(clipped, free)
        clip_floor = max(clip_floor, claim.floor)
      else
        short = true
      end
    end
  end
end

local admitted = not short and clipped >= clip_floor
local reply = { admitted and 1 or 0, clipped < math.huge and clipped or -1, clip_floor }

for _, claim in ipairs(claims) do
  local c, home = claim.counter, claim.home
  local free = room(c) - claim.input
  local want = admitted and min(claim.want, clipped) or claim.want
  local least = want
  if claim.clip then least = min(want, claim.shadow and claim.floor or max(claim.floor, clip_floor)) end
  local fits = free >= least
  local reserved = admitted and fits and claim.input + min(want, free) or 0
  if reserved > 0 then take(c, reserved) end
  local n = #reply
  reply[n + 1] = claim.overflowed and 1 or 0
  reply[n + 2] = c[AT]
  reply[n + 3] = c[EPOCH]
  reply[n + 4] = reserved
  reply[n + 5] = remaining(c)
  reply[n + 6] = reset_ms(c)
  reply[n + 7] = fits and -1 or retry_after_ms(c, claim.input + least)
  if reserved > 0 or claim.existed then
    local written = home.written
    written[#written + 1] = claim.field
    written[#written + 1] = cmsgpack.pack(unpack(c))
    home.deadline = max(home.deadline, forgettable_at(c))
    home.slack = max(home.slack, c[WINDOW] / SLOTS)
    if claim.owner and not claim.existed and not claim.known then
      claim.members[#claim.members + 1] = claim.field
      written[#written + 1] = claim.owner
      written[#written + 1] = cmsgpack.pack(claim.members)
    end
  end
end

for _, home in ipairs(homes) do
  if #home.written > 0 then write(home.key, home.written, home.deadline, tonumber(home.values[1] or 0), home.slack) end
end
return reply
