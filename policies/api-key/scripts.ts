/** The Lua scripts of the registry. Nothing in them is newer than Redis 6.2. */

import { createHash } from 'node:crypto'
import type { Script } from '../stores/redis/scripts.ts'

/** KEYS: hash of records. ARGV: id. Replies the record or nil. */
const FIND = `return redis.call('HGET', KEYS[1], ARGV[1])`

/**
 * Writes a record unless somebody else was faster. KEYS: hash of records. ARGV: id, the record as it was or '' for none, the
 * record as it shall be. Replies nil when that was done, or else the record as it is ('' for none).
 */
const SWAP = `
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if found == ARGV[3] then return false end
if found ~= ARGV[2] then return found end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return false
`

/** KEYS: hash of records. ARGV: cursor, about how many. Replies the next cursor, '0' at the end, and the records. */
const PAGE = `
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local reply = {found[1]}
for index = 2, #found[2], 2 do reply[#reply + 1] = found[2][index] end
return reply
`

/** KEYS: one credential's last use. ARGV: epoch milliseconds, milliseconds to keep it. */
const NOTE = `
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if known < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1
`

/** KEYS: one credential's last use. */
const LAST = `return redis.call('GET', KEYS[1])`

export const scripts = {
  find: script('find', FIND),
  swap: script('swap', SWAP),
  page: script('page', PAGE),
  note: script('note', NOTE),
  last: script('last', LAST),
} as const satisfies Record<string, Script>

function script(name: string, text: string): Script {
  return { name, text, sha: createHash('sha1').update(text).digest('hex') }
}
