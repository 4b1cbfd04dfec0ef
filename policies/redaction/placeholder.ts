/** Placeholders whose keyed tag lets equal values be matched without being recovered. */

import { createHmac } from 'node:crypto'
import { PortcullisError } from '../errors.ts'

export interface TagOptions {
  /** Secret of the HMAC, at least 16 bytes; without it placeholders carry no tag. */
  readonly key?: string | Uint8Array
  /** Whose values these are: tags of different tenants never match. */
  readonly tenant?: string
  /** Epoch milliseconds, from the caller's clock. */
  readonly now?: number
  /** How long equal values keep equal tags, in seconds. Default 86,400; 0 for ever. */
  readonly rotateSeconds?: number
  /** Hex digits of a tag, 4 to 32. Default 4: enough to follow a value through a conversation, too few to test guesses against. */
  readonly tagLength?: number
}

export type Tagger = (type: string, value: string) => string

const DEFAULT_ROTATION = 86_400
const MIN_KEY_BYTES = 16
const CACHED = 256

/**
 * Makes placeholders such as `[EMAIL:7f3a]`. The key of a tag is HMAC-SHA-256(key, tenant and period), the tag
 * HMAC-SHA-256(that, type and value), cut.
 * @throws {PortcullisError} `invalid_options` for a short key, a tag length out of range, or a rotation without a clock.
 */
export function createTagger(options: TagOptions): Tagger {
  const { key, tenant = '', now, rotateSeconds = DEFAULT_ROTATION, tagLength = 4 } = options
  if (key === undefined) return (type) => `[${type}]`
  if (Buffer.byteLength(key) < MIN_KEY_BYTES)
    throw new PortcullisError('invalid_options', `key must have at least ${MIN_KEY_BYTES} bytes`)
  if (!Number.isInteger(tagLength) || tagLength < 4 || tagLength > 32)
    throw new PortcullisError('invalid_options', 'tagLength must be an integer from 4 to 32')
  if (!(rotateSeconds >= 0)) throw new PortcullisError('invalid_options', 'rotateSeconds must be 0 or more')
  if (rotateSeconds > 0 && now === undefined)
    throw new PortcullisError('invalid_options', 'now is needed to rotate tags')
  const period = rotateSeconds > 0 ? Math.floor((now ?? 0) / 1000 / rotateSeconds) : 0
  const derived = createHmac('sha256', key).update(`${tenant.length}:${tenant}:${rotateSeconds}:${period}`).digest()
  const cache = new Map<string, string>()
  return (type, value) => {
    const id = `${type}:${value}`
    const known = cache.get(id)
    if (known !== undefined) return known
    const tag = createHmac('sha256', derived).update(id).digest('hex').slice(0, tagLength)
    const placeholder = `[${type}:${tag}]`
    if (cache.size < CACHED) cache.set(id, placeholder)
    return placeholder
  }
}
