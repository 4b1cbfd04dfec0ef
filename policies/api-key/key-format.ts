/**
 * The form of own keys: `pc_<env>_<id>_<secret><checksum>`. The prefix lets secret scanners find a leaked one, the id names it
 * in the registry, and the checksum tells a key from what only looks like one without asking anybody.
 */

import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Random } from '../policy.ts'

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** About 95 bits: nobody meets another's id. */
export const ID_LENGTH = 16
/** 256 bits. */
const SECRET_LENGTH = 43
/** CRC-32 in base 62. */
const CHECKSUM_LENGTH = 6

/** Source of a pattern for a whole key, in the syntax that JavaScript, RE2 and Hyperscan share. */
export const KEY_PATTERN = `pc_[a-z0-9]{1,16}_[0-9A-Za-z]{${ID_LENGTH}}_[0-9A-Za-z]{${SECRET_LENGTH + CHECKSUM_LENGTH}}`
export const ENV_PATTERN = '^[a-z0-9]{1,16}$'
export const ID_PATTERN = `^[0-9A-Za-z]{${ID_LENGTH}}$`

const KEY = new RegExp(`^${KEY_PATTERN}$`)
const ENV = new RegExp(ENV_PATTERN)
const ID = new RegExp(ID_PATTERN)

export interface ParsedKey {
  readonly env: string
  readonly id: string
}

/** A new id, unguessable. */
export function newKeyId(random: Pick<Random, 'id'>): string {
  return base62(BigInt(`0x${digestOf(random)}`), ID_LENGTH)
}

/**
 * A new key with a new secret.
 * @param env 1 to 16 lower-case letters and digits, such as `live`
 * @param id of {@link newKeyId}; the id of an existing key rotates it
 * @throws {RangeError} when they have another form
 */
export function generateKey(env: string, id: string, random: Pick<Random, 'id'>): string {
  if (!ENV.test(env)) throw new RangeError('The environment of a key is 1 to 16 lower-case letters and digits.')
  if (!ID.test(id)) throw new RangeError(`The id of a key is ${ID_LENGTH} letters and digits.`)
  const start = `pc_${env}_${id}_${base62(BigInt(`0x${digestOf(random)}`), SECRET_LENGTH)}`
  return start + checksumOf(start)
}

/** Undefined when it is no key: wrong form or wrong checksum. */
export function parseKey(text: string): ParsedKey | undefined {
  if (!KEY.test(text)) return undefined
  const start = text.slice(0, -CHECKSUM_LENGTH)
  if (text.slice(-CHECKSUM_LENGTH) !== checksumOf(start)) return undefined
  const [, env = '', id = ''] = text.split('_')
  return { env, id }
}

/** Whether somebody took it for an own key, good or bad. */
export function looksOwn(text: string): boolean {
  return text.startsWith('pc_')
}

/** CRC-32 (IEEE 802.3, as zlib's) of the key up to its checksum, in base 62 (`0-9A-Za-z`), padded with `0`. */
function checksumOf(start: string): string {
  return base62(BigInt(crc32(start)), CHECKSUM_LENGTH)
}

/** What the registry keeps of a key: HMAC-SHA-256 under a secret of the gateway's, in hexadecimal digits. */
export function hashKey(pepper: string, key: string): string {
  return createHmac('sha256', pepper).update(key).digest('hex')
}

/** Names a key in logs and on the deny list: SHA-256 in hexadecimal digits, as Kong's keys have. */
export function fingerprintOf(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}

/** Takes the same time wherever two hashes of one length differ. */
export function sameHash(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}

/** 256 bits from two ids of at least 128 each. */
function digestOf(random: Pick<Random, 'id'>): string {
  return createHash('sha256').update(`${random.id()}.${random.id()}`).digest('hex')
}

/** The last `length` digits of a number, most significant first. */
function base62(number: bigint, length: number): string {
  let rest = number
  let text = ''
  while (text.length < length) {
    text = (DIGITS[Number(rest % 62n)] ?? '') + text
    rest /= 62n
  }
  return text
}
