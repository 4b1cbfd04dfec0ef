/**
 * Settles reservations, one after the other and each once: `settleCounter` of `windows.ts`, line by line. What is wrong
 * with one of them keeps none of the others from being settled; of each, everything is read before anything is written.
 *
 * KEYS: the hashes. ARGV: the time or ''; numbers as JSON; the texts of the marks; the fields of the counters. The numbers:
 * 1 to be told of the entries, and then there is one settlement; how many counters there are; of each its algorithm, limit,
 * window and burst; then of each settlement the hash that keeps its mark, the number of the mark's field, and how many
 * entries follow: each its hash, counter, what was used beyond the reservation, at and life.
 *
 * The reply: of each settlement 1, 0 when the mark was there already, or the text of an error; an error itself when all
 * ended with that one. If told to, behind it of each entry at, life and remaining, or zeros when there is no such counter.
 */
export const settle = `
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

return function(found, first, position, count, mark_field, marks, told)
  local written, hashes, expires, must_live = {}, {}, {}, now + MARK_TTL
  for index = 1, count do
    local number, spec = numbers[position + 1], HEAD + COUNTER * (numbers[position + 1] - 1)
    local algorithm, limit, window, burst = unpack(numbers, spec + 1, spec + 4)
    local hash, field = KEYS[numbers[position]], ARGV[BEFORE_FIELDS + number]
    local beyond, at, its_life = unpack(numbers, position + 2, position + 4)
    local packed, c = found[index + 1]
    if packed then
      c = load(packed, algorithm, limit, window, burst, hash, field)
    elseif beyond > 0 then
      c = begin(algorithm, limit, window, burst, hash, field)
    end
    if c then
      if beyond > 0 then charge(c, beyond) elseif its_life == c[LIFE] then refund(c, -beyond, at) end
      local last = #written + 1
      written[last], hashes[last] = {}, hash
      expires[last] = add_to(written[last], c, numbers[position] == first and must_live or nil)
    end
    local last = #told
    told[last + 1], told[last + 2], told[last + 3] = c and c[AT] or 0, c and c[LIFE] or 0, c and remaining(c) or 0
    position = position + ENTRY
  end
  for index, hash in ipairs(hashes) do
    call('HSET', hash, unpack(written[index]))
    keep(hash, expires[index])
  end
  call('HSET', KEYS[first], mark_field, marks)
  keep(KEYS[first], must_live)
end
end

local settle_slowly
local told = numbers[1] == 1 and { 1 }

-- The marks of a settlement and the packed states of its counters, and whether those lie in more than one hash.
local function read(first, mark_field, position, count)
  if count == 1 and numbers[position] == first then
    return call('HMGET', KEYS[first], mark_field, ARGV[BEFORE_FIELDS + numbers[position + 1]]), false
  end
  local fields, hashes, many = { mark_field }, { KEYS[first] }, false
  for index = 1, count do
    fields[index + 1], hashes[index + 1] = ARGV[BEFORE_FIELDS + numbers[position + 1]], KEYS[numbers[position]]
    many = many or numbers[position] ~= first
    position = position + ENTRY
  end
  if not many then return call('HMGET', KEYS[first], unpack(fields)), false end
  local found = {}
  for index, hash in ipairs(hashes) do found[index] = call('HGET', hash, fields[index]) end
  return found, true
end

local function settle(number, position)
  local first, mark_field, count = numbers[position], 'm' .. numbers[position + 1], numbers[position + 2]
  position = position + SETTLEMENT
  local mark = string.sub(ARGV[3], MARK_LENGTH * (number - 1) + 1, MARK_LENGTH * number)
  local found, many = read(first, mark_field, position, count)
  local marks = found[1] or ''
  local known = string.find(marks, mark, 1, true)
  while known and known % MARK_LENGTH ~= 1 do known = string.find(marks, mark, known + 1, true) end
  if known then return 0 end
  marks = string.sub(marks .. mark, -MARK_LENGTH * MARKS)
  if told or not settle_quickly(found, first, position, count, many, mark_field, marks) then
    settle_slowly = settle_slowly or make_settle_slowly()
    settle_slowly(found, first, position, count, mark_field, marks, told or {})
  end
  return 1
end

local reply, position, alike = {}, HEAD + COUNTER * numbers[2] + 1, true
for number = 1, #ARGV[3] / MARK_LENGTH do
  local well, outcome = pcall(settle, number, position)
  if not well then outcome = type(outcome) == 'table' and outcome.err or tostring(outcome) end
  reply[number] = outcome
  alike = alike and outcome == reply[1]
  position = position + SETTLEMENT + ENTRY * numbers[position + 2]
end
if alike and type(reply[1]) == 'string' then return redis.error_reply(reply[1]) end
if told and reply[1] == 1 then return told end
return reply
`
