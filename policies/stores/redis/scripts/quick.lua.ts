/**
 * The usual reservation in half the time: every counter exists, is due no bookkeeping and has room for all that is wanted.
 * The function returns nothing, and has changed nothing, when that is not so.
 */
export const quick = `
local function quick()
  if ARGV[2] ~= '' then return end
  local n, many = ARGV[3] + 0, #KEYS > 1
  local packed = n > 1 and not many and redis.call('HMGET', KEYS[1], unpack(ARGV, 4, 3 + n))
  local floor, ceil, pack = math.floor, math.ceil, cmsgpack.pack
  local reply, last, position = { 1, -1, 0, 0, 0, 0, 0, 0, 0, 0 }, 3, 4 + n
  local written, hashes = {}, many and {}
  for index = 1, n do
    local mode, limit, window = ARGV[position] + 0, ARGV[position + 1] + 0, ARGV[position + 2] + 0
    local taken = ARGV[position + 3] + ARGV[position + 4]
    position = position + 5
    if mode % SHADOW >= CLIP then position = position + 1 end
    local algorithm, hash = mode % CLIP, KEYS[1]
    if many then hash = KEYS[floor(mode / HASH_STEP) + 1] end
    local old
    if packed then old = packed[index] else old = redis.call('HGET', hash, ARGV[3 + index]) end
    if not old then return end
    local at, life, expires, amount, used, new = cmsgpack.unpack(old)
    if at > now then return end
    local left, reset, needed
    if algorithm == SLIDING then
      local slot = floor(now * SLOTS_PER_WINDOW / window)
      new = new + taken
      if amount > 0 or new == 0 or slot ~= floor(at * SLOTS_PER_WINDOW / window) then return end
      used = used + taken
      left = limit - used
      reset = ceil((slot + LIVE_SLOTS) * window / SLOTS_PER_WINDOW) - now
      needed = now + ceil(window * LIVE_SLOTS / SLOTS_PER_WINDOW)
      written[2 * index] = pack(now, life, expires, amount, used, new)
    elseif algorithm == FIXED then
      local began = floor(now / window)
      amount = amount + taken
      if began ~= floor(at / window) then return end
      left = limit - amount
      reset = (began + 1) * window - now
      needed = now + reset
      written[2 * index] = pack(now, life, expires, amount)
    else
      local full = ARGV[position] * window
      position = position + 1
      amount = amount + (now - at) * limit
      if amount > full then amount = full end
      if floor(amount / window) < taken then return end
      amount = amount - taken * window
      left = floor(amount / window)
      reset = ceil((full - amount) / limit)
      needed = now + ceil(full / limit)
      written[2 * index] = pack(now, life, expires, amount)
    end
    if left < 0 or needed > expires then return end
    if mode % HASH_STEP >= SPREAD then position = position + 2 end
    written[2 * index - 1] = ARGV[3 + index]
    if many then hashes[index] = hash end
    reply[last + 1], reply[last + 2], reply[last + 3], reply[last + 4] = 0, now, life, taken
    reply[last + 5], reply[last + 6], reply[last + 7] = left, reset, -1
    last = last + 7
  end
  if not many then
    redis.call('HSET', KEYS[1], unpack(written))
    return reply
  end
  for index = 1, n do
    redis.call('HSET', hashes[index], written[2 * index - 1], written[2 * index])
  end
  return reply
end
`
