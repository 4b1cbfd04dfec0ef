/**
 * Keys in Redis. Records lie in one hash for each first character of an id, so that a cluster shares them out and all can be
 * listed without an index that might drift.
 */

import { PortcullisError } from '../errors.ts'
import type { Deps } from '../policy.ts'
import type { RedisConfig } from '../stores/redis/config.ts'
import { connectRedis } from '../stores/redis/connection.ts'
import { keyExists } from './memory-registry.ts'
import { type KeyRecord, readRecord, revoked, rotated } from './record.ts'
import type { KeyRegistry } from './registry.ts'
import { scripts } from './scripts.ts'

const SHARDS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const PAGE = 500
/** Longer than any key may live. */
const KEEP_USE_MS = 400 * 86_400_000
/** Somebody else changes the key each time: no operator is so busy. */
const TRIES = 10
/** Commands on their way at a time, where many are asked for. */
const AT_ONCE = 100

/** Connects in the background. */
export function createRedisRegistry(
  config: RedisConfig,
  { clock, random, logger }: Pick<Deps, 'clock' | 'random' | 'logger'>,
): KeyRegistry {
  const connection = connectRedis(config, {
    clock,
    random,
    onReady: () => undefined,
    onRefused: ({ code, message }) => logger.error('the key registry refuses this config', { code, message }),
  })
  const shardOf = (id: string) => `${config.key_prefix}{keys:${id.charAt(0)}}`
  const useKey = (name: string) => `${config.key_prefix}used:{${name}}`

  async function findText(id: string): Promise<string | undefined> {
    await connection.started
    const reply = await connection.run(scripts.find, [shardOf(id)], [id])
    if (reply === null) return undefined
    if (typeof reply !== 'string') throw malformed()
    return reply
  }

  /** Undefined once written; else what is there instead. */
  async function swap(id: string, was: string, next: KeyRecord): Promise<string | undefined> {
    await connection.started
    const reply = await connection.run(scripts.swap, [shardOf(id)], [id, was, JSON.stringify(next)])
    if (reply === null) return undefined
    if (typeof reply !== 'string') throw malformed()
    return reply
  }

  /** Applies `change` to the record as it is at the moment it is written. */
  async function update<T>(
    id: string,
    change: (record: KeyRecord) => { readonly result: T; readonly next: KeyRecord | undefined },
  ): Promise<T | undefined> {
    let text = await findText(id)
    for (let times = 0; times < TRIES; times++) {
      if (text === undefined || text === '') return undefined
      const { result, next } = change(readRecord(text))
      if (next === undefined) return result
      text = await swap(id, text, next)
      if (text === undefined) return result
    }
    throw new PortcullisError('store_busy', 'Somebody else keeps changing the key.')
  }

  return {
    async issue(record) {
      if ((await swap(record.id, '', record)) !== undefined) throw keyExists()
    },
    async rotate(id, rotation) {
      const done = await update(id, (record) => {
        const result = rotated(record, rotation)
        const changed = result.type === 'rotated' && result.record !== record
        return { result, next: changed ? result.record : undefined }
      })
      return done ?? { type: 'unknown' }
    },
    revoke(id, { at, reason }) {
      return update(id, (record) => {
        const result = revoked(record, at, reason)
        return { result, next: result === record ? undefined : result }
      })
    },
    async find(id) {
      const text = await findText(id)
      return text === undefined ? undefined : readRecord(text)
    },
    async *list() {
      await connection.started
      for (const shard of SHARDS) {
        // A hash that grows meanwhile may show a record twice.
        const seen = new Set<string>()
        let cursor = '0'
        do {
          const reply = await connection.run(scripts.page, [shardOf(shard)], [cursor, PAGE])
          if (!isTexts(reply)) throw malformed()
          const [next = '0', ...texts] = reply
          cursor = next
          for (const record of texts.map(readRecord)) {
            if (seen.has(record.id)) continue
            seen.add(record.id)
            yield record
          }
        } while (cursor !== '0')
      }
    },
    async noteUse(name, at) {
      await connection.started
      await connection.run(scripts.note, [useKey(name)], [Math.floor(at), KEEP_USE_MS])
    },
    async lastUses(names) {
      await connection.started
      const found: (number | undefined)[] = []
      for (let from = 0; from < names.length; from += AT_ONCE) {
        const some = names.slice(from, from + AT_ONCE)
        const replies = await Promise.all(some.map((name) => connection.run(scripts.last, [useKey(name)], [])))
        found.push(...replies.map((reply) => (typeof reply === 'string' ? Number(reply) : undefined)))
      }
      return found
    },
    close: () => connection.close(),
  }
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function malformed(): PortcullisError {
  return new PortcullisError('store_fault', 'The key registry holds what is no key.')
}
