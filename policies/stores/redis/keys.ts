/** Names of keys in Redis, and where in a cluster they lie. */

import { PortcullisError } from '../../errors.ts'
import type { Claim } from '../ports.ts'

export interface Place {
  /** Key of the hash that holds the counter. The braces keep all counters of a caller in one slot. */
  readonly hash: string
  /** The counter's field in it. */
  readonly field: string
}

export function placeOf(prefix: string, { key, caller }: Pick<Claim, 'key' | 'caller'>): Place {
  if (caller === undefined) return { hash: `${prefix}s{${key}}`, field: 'c' }
  if (!key.startsWith(caller)) throw new PortcullisError('invalid_argument', "A counter's key begins with its caller.")
  return { hash: callerHash(prefix, caller), field: `c${key.slice(caller.length)}` }
}

export function callerHash(prefix: string, caller: string): string {
  return `${prefix}c{${caller}}`
}

/** The counter that lies there: {@link placeOf} backwards. */
export function counterAt(prefix: string, { hash, field }: Place): Pick<Claim, 'key' | 'caller'> {
  const tag = hash.slice(hash.indexOf('{') + 1, -1)
  return hash.startsWith(`${prefix}c{`) ? { key: tag + field.slice(1), caller: tag } : { key: tag }
}

/** What `SCAN` finds the hashes of all callers by, or of the counters without one. A prefix holds no pattern. */
export function hashPattern(prefix: string, whose: 'callers' | 'nobody'): string {
  return `${prefix}${whose === 'callers' ? 'c' : 's'}{*}`
}

/** A key in the same slot as `hash`. */
export function besideHash(prefix: string, hash: string, name: string): string {
  return `${prefix}${name}{${tagOf(hash)}}`
}

/** The part of a key that its slot is made from. */
function tagOf(key: string): string {
  const open = key.indexOf('{')
  const close = key.indexOf('}', open + 1)
  return open === -1 || close <= open + 1 ? key : key.slice(open + 1, close)
}

const SLOTS = 16_384

/** The slot of a key: CRC-16/XMODEM of its tag. @see https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ */
export function slotOf(key: string): number {
  let crc = 0
  for (const byte of Buffer.from(tagOf(key))) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021
    crc &= 0xffff
  }
  return crc % SLOTS
}
