/** What operators ask for. */

/**
 * KEYS: the hash. ARGV: the time or ''. The reply: of each counter that counts anything its field, algorithm, limit,
 * window, burst, used, remaining and reset.
 */
export const show = `
local function used(c)
  if c[ALGORITHM] == SLIDING then return c[USED] + c[AMOUNT] end
  if c[ALGORITHM] == FIXED then return c[AMOUNT] end
  return c[BURST] - floor(c[AMOUNT] / c[WINDOW])
end

local fields, reply = redis.call('HGETALL', KEYS[1]), {}
for index = 1, #fields, 2 do
  if string.sub(fields[index], 1, 1) == 'c' then
    local packed = redis.call('HGET', KEYS[1], 'b' .. string.sub(fields[index], 2))
    if packed then
      local algorithm, limit, window, burst = cmsgpack.unpack(packed)
      local c = load(fields[index + 1], algorithm, limit, window, burst, KEYS[1], fields[index])
      if not idle(c) then
        local last = #reply
        reply[last + 1], reply[last + 2], reply[last + 3], reply[last + 4] = c[FIELD], algorithm, limit, window
        reply[last + 5], reply[last + 6], reply[last + 7], reply[last + 8] = burst, min(FAR, used(c)), remaining(c), min(FAR, reset_ms(c))
      end
    end
  end
end
return reply
`

/** KEYS: the hash. ARGV: the time or ''; the field; the tokens to give back. The reply: 1, or 0 without such a counter. */
export const grant = `
local packed = redis.call('HGET', KEYS[1], ARGV[2])
local spec = redis.call('HGET', KEYS[1], 'b' .. string.sub(ARGV[2], 2))
if not packed or not spec then return 0 end
local algorithm, limit, window, burst = cmsgpack.unpack(spec)
local c = load(packed, algorithm, limit, window, burst, KEYS[1], ARGV[2])
local amount = ARGV[3] + 0
if algorithm == SLIDING then
  local forgiven = min(c[AMOUNT], amount)
  c[AMOUNT] = c[AMOUNT] - forgiven
  local left, slot = amount - forgiven, slot_of(c, c[AT])
  for from = slot, slot - SLOTS_PER_WINDOW, -1 do
    local given = min(left, booked_in(c, from))
    if given > 0 then unbook(c, from, given) end
    left = left - given
  end
  pay_debt(c)
elseif algorithm == FIXED then
  c[AMOUNT] = max(0, c[AMOUNT] - amount)
else
  c[AMOUNT] = min(burst * window, c[AMOUNT] + amount * window)
end
local written = {}
local expires = add_to(written, c)
redis.call('HSET', KEYS[1], unpack(written))
keep(KEYS[1], expires)
return 1
`
