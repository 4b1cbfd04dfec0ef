/** Makes keys and puts them into a registry: what `portcullis keys` is built on. */

import type { Clock, Random } from '../policy.ts'
import { generateKey, hashKey, newKeyId } from './key-format.ts'
import { isDue, type KeyConsumer, type KeyRecord, type Rotated, type Rotation } from './record.ts'
import type { KeyRegistry } from './registry.ts'

export interface IssuingOptions {
  readonly registry: KeyRegistry
  /** The secret of `registry.pepper` in the plugin's config. */
  readonly pepper: string
  readonly clock: Pick<Clock, 'now'>
  readonly random: Pick<Random, 'id'>
}

export interface KeyOrder {
  /** 1 to 16 lower-case letters and digits, such as `live`. */
  readonly env: string
  readonly consumer: KeyConsumer
  readonly tags?: readonly string[]
  readonly scopes?: readonly string[]
  readonly cidrs?: readonly string[]
  /** Epoch milliseconds. */
  readonly expiresAt?: number
}

/** Called with the new key before the registry takes it, so that a key that could not be handed over never counts. */
export type Deliver = (key: string, id: string) => Promise<void> | void

export type RotatedKey =
  | (Extract<Rotated, { readonly type: 'rotated' }> & { readonly key: string })
  | Exclude<Rotated, { readonly type: 'rotated' }>

export interface KeyIssuer {
  /** The key itself exists nowhere else. */
  issue(order: KeyOrder, deliver?: Deliver): Promise<{ readonly key: string; readonly record: KeyRecord }>
  rotate(id: string, how: Omit<Rotation, 'hash' | 'at'>, deliver?: Deliver): Promise<RotatedKey>
}

export function createKeyIssuer({ registry, pepper, clock, random }: IssuingOptions): KeyIssuer {
  return {
    async issue({ env, consumer, tags = [], scopes, cidrs, expiresAt }, deliver) {
      const id = newKeyId(random)
      const key = generateKey(env, id, random)
      const at = clock.now()
      const record: KeyRecord = {
        id,
        env,
        consumer,
        tags,
        ...(scopes === undefined ? {} : { scopes }),
        ...(cidrs === undefined ? {} : { cidrs }),
        createdAt: at,
        ...(expiresAt === undefined ? {} : { expiresAt }),
        secrets: [{ hash: hashKey(pepper, key), issuedAt: at }],
      }
      await deliver?.(key, id)
      await registry.issue(record)
      return { key, record }
    },
    async rotate(id, how, deliver) {
      const record = await registry.find(id)
      if (record === undefined) return { type: 'unknown' }
      if (record.revoked !== undefined) return { type: 'revoked', record }
      if (!isDue(record, how.issuedBefore)) return { type: 'not_due', record }
      const key = generateKey(record.env, id, random)
      await deliver?.(key, id)
      const done = await registry.rotate(id, { ...how, hash: hashKey(pepper, key), at: clock.now() })
      return done.type === 'rotated' ? { ...done, key } : done
    },
  }
}
