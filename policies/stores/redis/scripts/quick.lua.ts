/**
 * The usual reservation in a third of the time: every counter exists, is due no bookkeeping and has room for all that is
 * wanted. When that is not so it changes nothing, and the script goes on behind it.
 *
 * The reply: the time, which is every counter's own; then of each claim life, remaining and reset. All that was wanted
 * was taken.
 */
export const quick = `
-- What becomes of one counter: its packed state, life, what is left of it, and reset; then where the next claim begins.
-- Most calls of floor are spelled out, as x - x % 1.
local function take_usual(old, position)
  if not old then return end
  local mode, limit, window = ARGV[position] + 0, ARGV[position + 1] + 0, ARGV[position + 2] + 0
  local taken = ARGV[position + 3] + ARGV[position + 4]
  position = position + 5
  if mode % SHADOW >= CLIP then position = position + 1 end
  local at, life, expires, amount, used, new = cmsgpack.unpack(old)
  if at > now then return end
  local algorithm, state, left, reset, needed = mode % CLIP
  if algorithm == SLIDING then
    local slot, last = now * SLOTS_PER_WINDOW / window, at * SLOTS_PER_WINDOW / window
    slot = slot - slot % 1
    new = new + taken
    if amount > 0 or new == 0 or slot ~= last - last % 1 then return end
    used = used + taken
    left = limit - used
    reset = math.ceil((slot + LIVE_SLOTS) * window / SLOTS_PER_WINDOW) - now
    needed = now + math.ceil(window * LIVE_SLOTS / SLOTS_PER_WINDOW)
    state = cmsgpack.pack(now, life, expires, amount, used, new)
  elseif algorithm == FIXED then
    reset = window - now % window
    if at < now + reset - window then return end
    amount = amount + taken
    left = limit - amount
    needed = now + reset
    state = cmsgpack.pack(now, life, expires, amount)
  else
    local full = ARGV[position] * window
    position = position + 1
    amount = amount + (now - at) * limit
    if amount > full then amount = full end
    if math.floor(amount / window) < taken then return end
    amount = amount - taken * window
    left = math.floor(amount / window)
    reset = math.ceil((full - amount) / limit)
    needed = now + math.ceil(full / limit)
    state = cmsgpack.pack(now, life, expires, amount)
  end
  if left < 0 or needed > expires then return end
  if mode % HASH_STEP >= SPREAD then position = position + 2 end
  return state, life, left, reset, position
end

if n == 1 and other_clip == '' then
  local state, life, left, reset = take_usual(redis.call('HGET', KEYS[1], ARGV[before + 1]), before + 2)
  if state then
    redis.call('HSET', KEYS[1], ARGV[before + 1], state)
    return { now, life, left, reset }
  end
elseif other_clip == '' then
  local many, usual, position = #KEYS > 1, true, 2 + n
  local reply, written, hashes = { now, 0, 0, 0, 0, 0, 0 }, {}, {}
  local packed = not many and redis.call('HMGET', KEYS[1], unpack(ARGV, 2, 1 + n))
  for index = 1, n do
    local field, old = ARGV[1 + index], packed and packed[index]
    if many then
      hashes[index] = KEYS[math.floor(ARGV[position] / HASH_STEP) + 1]
      old = redis.call('HGET', hashes[index], field)
    end
    local state, life, left, reset, next_position = take_usual(old, position)
    if not state then
      usual = false
      break
    end
    position = next_position
    written[2 * index - 1], written[2 * index] = field, state
    reply[3 * index - 1], reply[3 * index], reply[3 * index + 1] = life, left, reset
  end
  if usual and many then
    for index = 1, n do redis.call('HSET', hashes[index], written[2 * index - 1], written[2 * index]) end
  elseif usual then
    redis.call('HSET', KEYS[1], unpack(written))
  end
  if usual then return reply end
end
`
