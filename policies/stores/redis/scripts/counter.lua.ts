/**
 * One counter in Lua, and what an algorithm does to it: `windows.ts`, `fixed-window.ts`, `sliding-window.ts` and
 * `token-bucket.ts`, line by line.
 *
 * A caller's counters lie in one hash, a counter without a caller part in a hash of its own. Field `c` with the rest of
 * the counter's key holds what every request needs, packed: AT to AMOUNT, and of a sliding window USED and NEW, what is
 * booked in all slots and in the newest. Field `b` holds what few need: how the counter counts, and the slots of a
 * sliding window that were left behind, by number modulo LIVE_SLOTS.
 */
export const counter = `
local FIXED, SLIDING = 1, 2
local AT, LIFE, EXPIRES, AMOUNT, USED, NEW = 1, 2, 3, 4, 5, 6
local ALGORITHM, LIMIT, WINDOW, BURST, HASH, FIELD, BEHIND, CHANGED = 7, 8, 9, 10, 11, 12, 13, 14
local SLOTS_PER_WINDOW, LIVE_SLOTS = 12, 13
-- No time or number in an answer or an expiry is greater: neither Redis nor the gateway could read it as a whole number.
local FAR = 9007199254740991

local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
-- Tells one life of a counter from any other, and is small, because every counter keeps it.
local life = (time[1] * 1000000 + time[2]) % 2147483647 + 1

local function begin(algorithm, limit, window, burst, hash, field)
  local amount = (algorithm == FIXED or algorithm == SLIDING) and 0 or burst * window
  return { now, life, 0, amount, 0, 0, algorithm, limit, window, burst, hash, field, {}, true }
end

local function revive(packed, algorithm, limit, window, burst, hash, field)
  local at, its_life, expires, amount, used, new = cmsgpack.unpack(packed)
  return { at, its_life, expires, amount, used, new, algorithm, limit, window, burst, hash, field, false, false }
end

local function behind_field(c)
  return 'b' .. string.sub(c[FIELD], 2)
end

-- The slots left behind, read when first needed. The slot of the counter's clock is not among them.
local function behind(c)
  if not c[BEHIND] then
    local packed = redis.call('HGET', c[HASH], behind_field(c))
    c[BEHIND] = packed and { select(5, cmsgpack.unpack(packed)) } or {}
  end
  return c[BEHIND]
end

local function slot_of(c, t)
  return floor(t * SLOTS_PER_WINDOW / c[WINDOW])
end

-- Milliseconds from the counter's clock to the beginning of a slot.
local function until_slot(c, slot)
  return ceil(slot * c[WINDOW] / SLOTS_PER_WINDOW) - c[AT]
end

local function booked_in(c, slot)
  if slot == slot_of(c, c[AT]) then return c[NEW] end
  return behind(c)[slot % LIVE_SLOTS + 1] or 0
end

local function unbook(c, slot, amount)
  if slot == slot_of(c, c[AT]) then
    c[NEW] = c[NEW] - amount
  else
    local index = slot % LIVE_SLOTS + 1
    behind(c)[index] = (behind(c)[index] or 0) - amount
    c[CHANGED] = true
  end
  c[USED] = c[USED] - amount
end

local function pay_debt(c)
  local paid = min(c[AMOUNT], max(0, c[LIMIT] - c[USED]))
  c[AMOUNT] = c[AMOUNT] - paid
  c[USED] = c[USED] + paid
  c[NEW] = c[NEW] + paid
end

local function enter_slot(c, last, slot)
  local slots, used = behind(c), 0
  slots[last % LIVE_SLOTS + 1] = c[NEW]
  for left = last + 1, min(slot, last + LIVE_SLOTS) do slots[left % LIVE_SLOTS + 1] = 0 end
  for index = 1, LIVE_SLOTS do
    slots[index] = slots[index] or 0
    used = used + slots[index]
  end
  c[USED], c[NEW], c[CHANGED] = used, 0, true
  if c[AMOUNT] > 0 then c[AMOUNT] = max(0, c[AMOUNT] - c[LIMIT] * floor((slot - last) / LIVE_SLOTS)) end
end

local function idle(c)
  if c[ALGORITHM] == SLIDING then return c[AMOUNT] == 0 and c[USED] == 0 end
  if c[ALGORITHM] == FIXED then return c[AMOUNT] == 0 end
  return c[AMOUNT] >= c[BURST] * c[WINDOW]
end

local function restart(c)
  c[AT], c[LIFE] = now, life
  if c[ALGORITHM] == SLIDING then
    c[NEW], c[BEHIND], c[CHANGED] = c[USED], {}, true
    pay_debt(c)
  elseif c[ALGORITHM] ~= FIXED then
    c[AMOUNT] = min(c[BURST] * c[WINDOW], c[AMOUNT])
  end
end

local function advance(c)
  local at, window = c[AT], c[WINDOW]
  c[AT] = now
  if c[ALGORITHM] == SLIDING then
    local last, slot = slot_of(c, at), slot_of(c, now)
    if slot > last then enter_slot(c, last, slot) end
    pay_debt(c)
  elseif c[ALGORITHM] == FIXED then
    local moved = floor(now / window) - floor(at / window)
    if moved > 0 then c[AMOUNT] = max(0, c[AMOUNT] - moved * c[LIMIT]) end
  else
    c[AMOUNT] = min(c[BURST] * window, c[AMOUNT] + (now - at) * c[LIMIT])
  end
end

local function touch(c)
  if c[AT] > now + c[WINDOW] then
    restart(c)
  elseif c[AT] <= now then
    advance(c)
  elseif idle(c) then
    c[AT], c[LIFE] = now, life
  end
end

-- The counter in a field, brought up to now.
local function load(packed, algorithm, limit, window, burst, hash, field)
  local c = revive(packed, algorithm, limit, window, burst, hash, field)
  touch(c)
  return c
end

local function room(c)
  if c[ALGORITHM] == SLIDING then return c[AMOUNT] > 0 and 0 or c[LIMIT] - c[USED] end
  if c[ALGORITHM] == FIXED then return c[LIMIT] - c[AMOUNT] end
  return floor(c[AMOUNT] / c[WINDOW])
end

local function take(c, amount)
  if c[ALGORITHM] == SLIDING then
    c[USED] = c[USED] + amount
    c[NEW] = c[NEW] + amount
  elseif c[ALGORITHM] == FIXED then
    c[AMOUNT] = c[AMOUNT] + amount
  else
    c[AMOUNT] = c[AMOUNT] - amount * c[WINDOW]
  end
end

local function remaining(c)
  if c[ALGORITHM] == SLIDING then return max(0, c[LIMIT] - c[USED]) end
  return max(0, room(c))
end

local function reset_ms(c)
  local limit, window = c[LIMIT], c[WINDOW]
  if c[ALGORITHM] == SLIDING then
    local debt_ms = ceil(c[AMOUNT] / limit) * window
    if c[USED] == 0 then return debt_ms end
    local newest = slot_of(c, c[AT])
    local oldest = newest - SLOTS_PER_WINDOW
    while newest > oldest and booked_in(c, newest) == 0 do newest = newest - 1 end
    return until_slot(c, newest + LIVE_SLOTS) + debt_ms
  end
  if c[ALGORITHM] == FIXED then
    return (floor(c[AT] / window) + max(1, ceil(c[AMOUNT] / limit))) * window - c[AT]
  end
  return ceil((c[BURST] * window - c[AMOUNT]) / limit)
end
`
