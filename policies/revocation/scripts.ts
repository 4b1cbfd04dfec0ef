/**
 * The Lua scripts. KEYS: hash of entries, their keys by serial, the serial, keys by expiry. All in one slot of a cluster.
 * Nothing in them is newer than Redis 6.2.
 */

import { createHash } from 'node:crypto'
import type { Script } from '../stores/redis/scripts.ts'

/**
 * Epoch milliseconds by Redis's own clock, and the removal of what has expired by it. Serials keep up with the time: what
 * comes after Redis lost its data, or some of it to a replica that took over, is still ahead of what every node has seen.
 */
const EXPIRE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function note(key)
  local serial = redis.call('INCR', KEYS[3])
  if serial < now then
    serial = now
    redis.call('SET', KEYS[3], string.format('%.0f', serial))
  end
  redis.call('ZADD', KEYS[2], serial, key)
end

local gone = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 100)
for _, key in ipairs(gone) do
  redis.call('HDEL', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
  redis.call('ZREM', KEYS[4], key)
end
`

/** ARGV: key, entry, expiry or '', how many there may be. Replies 1, or 0 when there are too many. */
const CHANGE = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
note(ARGV[1])
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[4], ARGV[1])
else
  redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
end
return 1
`

/**
 * ARGV: key, entry that says it was lifted. What cannot be read goes as well. A day is longer than any node sleeps
 * and still counts as running.
 */
const LIFT = `
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry then return 0 end
local read, known = pcall(cjson.decode, entry)
if read and type(known) == 'table' and not known.revocation then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
note(ARGV[1])
redis.call('ZADD', KEYS[4], now + 86400000, ARGV[1])
return 1
`

/**
 * ARGV: serial seen last or '', page size. Replies the serial to ask with next, '1' when there is more, and the entries.
 * Whoever is ahead of a Redis that lost its data asks for everything again.
 */
const CHANGES = `
local last = redis.call('GET', KEYS[3]) or '0'
local since = ARGV[1]
if since == last then return {last, '0'} end
if since == '' or tonumber(since) > tonumber(last) then since = '0' end
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local reply = {last, '0'}
for index = 1, #found, 2 do
  local entry = redis.call('HGET', KEYS[1], found[index])
  if entry then reply[#reply + 1] = entry end
end
if #found / 2 >= tonumber(ARGV[2]) then
  reply[1], reply[2] = found[#found], '1'
end
return reply
`

export const scripts = {
  change: script('change', EXPIRE, CHANGE),
  lift: script('lift', EXPIRE, LIFT),
  changes: script('changes', CHANGES),
} as const satisfies Record<string, Script>

function script(name: string, ...parts: readonly string[]): Script {
  const text = parts.join('\n')
  return { name, text, sha: createHash('sha1').update(text).digest('hex') }
}
