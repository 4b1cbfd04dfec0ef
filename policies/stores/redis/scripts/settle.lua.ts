/**
 * Settles one reservation, once: `settleCounter` of `windows.ts`, line by line.
 *
 * KEYS: the hashes; the first keeps the mark of this settlement. ARGV: the time or ''; the field and the text of the
 * mark; then of each entry its hash, field, algorithm, limit, window, burst, what was used beyond the reservation, at and
 * life. The reply: 1, or 0 when the mark was there already; then of each entry at, life and remaining, or zeros when
 * there is no such counter.
 */
export const settle = `
local MARK_LENGTH, MARKS, MARK_TTL = 8, 8, 120000

local marks = redis.call('HGET', KEYS[1], ARGV[2]) or ''
for index = 1, #marks, MARK_LENGTH do
  if string.sub(marks, index, index + MARK_LENGTH - 1) == ARGV[3] then return { 0 } end
end

local function refund(c, amount, at)
  local window = c[WINDOW]
  if c[ALGORITHM] == SLIDING then
    local slot = slot_of(c, at)
    local age = slot_of(c, c[AT]) - slot
    if age < 0 or age >= LIVE_SLOTS then return end
    unbook(c, slot, min(amount, booked_in(c, slot)))
    pay_debt(c)
  elseif c[ALGORITHM] == FIXED then
    if floor(at / window) ~= floor(c[AT] / window) then return end
    c[AMOUNT] = max(0, c[AMOUNT] - amount)
  else
    if (c[AT] - at) * c[LIMIT] > c[BURST] * window then return end
    c[AMOUNT] = min(c[BURST] * window, c[AMOUNT] + amount * window)
  end
end

local function charge(c, amount)
  if c[ALGORITHM] == SLIDING then
    c[AMOUNT] = c[AMOUNT] + amount
    pay_debt(c)
  else
    take(c, amount)
  end
end

local reply = { 1 }
for position = 4, #ARGV, 9 do
  local hash, field = KEYS[ARGV[position] + 0], ARGV[position + 1]
  local algorithm, limit = ARGV[position + 2] + 0, ARGV[position + 3] + 0
  local window, burst = ARGV[position + 4] + 0, ARGV[position + 5] + 0
  local beyond, at, its_life = ARGV[position + 6] + 0, ARGV[position + 7] + 0, ARGV[position + 8] + 0
  local packed = redis.call('HGET', hash, field)
  local c
  if packed then
    c = load(packed, algorithm, limit, window, burst, hash, field)
  elseif beyond > 0 then
    c = begin(algorithm, limit, window, burst, hash, field)
  end
  if c then
    if beyond > 0 then charge(c, beyond) elseif its_life == c[LIFE] then refund(c, -beyond, at) end
    local written = {}
    local expires = add_to(written, c)
    redis.call('HSET', hash, unpack(written))
    keep(hash, expires)
  end
  local last = #reply
  reply[last + 1], reply[last + 2], reply[last + 3] = c and c[AT] or 0, c and c[LIFE] or 0, c and remaining(c) or 0
end

redis.call('HSET', KEYS[1], ARGV[2], string.sub(marks .. ARGV[3], -MARK_LENGTH * MARKS))
keep(KEYS[1], now + MARK_TTL)
return reply
`
