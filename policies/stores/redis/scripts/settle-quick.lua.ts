/**
 * The usual settlement in a third of the time: every counter exists, is due no bookkeeping, and has room for what was
 * used beyond the reservation or is still in the slot or window that it lent from. When that is not so it changes nothing,
 * and the script goes on behind it. The arguments are those of `settle.lua.ts`.
 */
export const settleQuick = `
local MARK_LENGTH, MARKS, MARK_TTL = 8, 8, 120000
local HEAD, COUNTER, SETTLEMENT, ENTRY, BEFORE_FIELDS = 2, 4, 3, 5, 3

local call, pack, unpacked = redis.call, cmsgpack.pack, cmsgpack.unpack
local numbers = cjson.decode(ARGV[2])

local function behind_field_of(position)
  return 'b' .. string.sub(ARGV[BEFORE_FIELDS + numbers[position + 1]], 2)
end

-- The slots left behind after one of them took back what it lent, packed; nil when it does not hold that much.
local function take_back_from_behind(position, slot, amount)
  local packed = call('HGET', KEYS[numbers[position]], behind_field_of(position))
  if not packed then return end
  local spec, kept = HEAD + COUNTER * (numbers[position + 1] - 1), { unpacked(packed) }
  local index = COUNTER + slot % LIVE_SLOTS + 1
  if not kept[index] or kept[index] < amount then return end
  kept[index] = kept[index] - amount
  for value = 1, COUNTER do kept[value] = numbers[spec + value] end
  return pack(unpack(kept))
end

-- What becomes of one counter: its packed state, and the slots left behind when it lent from one of those. Most calls of
-- floor are spelled out, as x - x % 1.
local function settle_usual(old, position, must_live)
  local spec = HEAD + COUNTER * (numbers[position + 1] - 1)
  local algorithm, limit, window = numbers[spec + 1], numbers[spec + 2], numbers[spec + 3]
  local beyond, reserved_at = numbers[position + 2], numbers[position + 3]
  local at, life, expires, amount, used, new = unpacked(old)
  if at > now or expires < must_live or beyond < 0 and life ~= numbers[position + 4] then return end
  local state, needed, behind
  if algorithm == SLIDING then
    local slot, last = now * SLOTS_PER_WINDOW / window, at * SLOTS_PER_WINDOW / window
    slot = slot - slot % 1
    if amount > 0 or slot ~= last - last % 1 then return end
    used = used + beyond
    if beyond < 0 then
      local lent = reserved_at * SLOTS_PER_WINDOW / window
      lent = lent - lent % 1
      if lent == slot then
        new = new + beyond
        if new < 0 then return end
      else
        if lent > slot or slot - lent >= LIVE_SLOTS then return end
        behind = take_back_from_behind(position, lent, -beyond)
        if not behind then return end
      end
    else
      if used > limit then return end
      new = new + beyond
    end
    needed = now + math.ceil(window * LIVE_SLOTS / SLOTS_PER_WINDOW)
    state = pack(now, life, expires, amount, used, new)
  elseif algorithm == FIXED then
    local start = now - now % window
    if at < start or beyond < 0 and (reserved_at < start or reserved_at >= start + window) then return end
    amount = amount + beyond
    if amount < 0 or amount > limit then return end
    needed = start + window
    state = pack(now, life, expires, amount)
  else
    local full = numbers[spec + 4] * window
    if beyond < 0 and (now - reserved_at) * limit > full then return end
    amount = amount + (now - at) * limit
    if amount > full then amount = full end
    amount = amount - beyond * window
    if amount > full then amount = full end
    if amount < 0 then return end
    needed = now + math.ceil(full / limit)
    state = pack(now, life, expires, amount)
  end
  if needed <= expires then return state, behind end
end

-- All counters of a settlement; true when they were counted. The first hash keeps the marks.
local function settle_quickly(found, first, position, count, many, mark_field, marks)
  local written, must_live, lives = { mark_field, marks }, now + MARK_TTL, false
  for index = 1, count do
    local entry = position + ENTRY * (index - 1)
    local own, old = numbers[entry] == first, found[index + 1]
    if not old then return false end
    local state, behind = settle_usual(old, entry, own and must_live or 0)
    if not state or many and behind then return false end
    lives = lives or own
    local last = #written
    written[last + 1], written[last + 2] = ARGV[BEFORE_FIELDS + numbers[entry + 1]], state
    if behind then written[last + 3], written[last + 4] = behind_field_of(entry), behind end
  end
  if many then
    for index = 1, count do
      local hash = KEYS[numbers[position + ENTRY * (index - 1)]]
      call('HSET', hash, written[2 * index + 1], written[2 * index + 2])
    end
    call('HSET', KEYS[first], mark_field, marks)
  else
    call('HSET', KEYS[first], unpack(written))
  end
  -- A hash lives as long as its counters say.
  if not lives and call('PTTL', KEYS[first]) < MARK_TTL then call('PEXPIRE', KEYS[first], MARK_TTL) end
  return true
end

local function make_settle_slowly()
`
