/**
 * Keys in the pack's own registry, which keeps hashes only. A new secret counts once it is confirmed, so that one that could
 * not be delivered never does.
 */

import {
  generateKey,
  hashKey,
  type KeyRecord,
  type KeyRegistry,
  parseKey,
  sameHash,
} from '../../../../policies/api-key/index.ts'
import { MAX_SECRETS } from '../../../../policies/api-key/record.ts'
import { PortcullisError } from '../../../../policies/errors.ts'
import type { Clock, Random } from '../../../../policies/policy.ts'
import type { Held, KeyBackend, KeyVersion, ManagedKey, MintKey, StagedSecret } from '../ports.ts'
import { lifetimeOf } from './credentials.ts'

export interface RegistryBackendOptions {
  readonly registry: KeyRegistry
  /** @throws {PortcullisError} when the operator named none. */
  readonly pepper: () => string
  readonly env: string
  readonly mint: MintKey
  readonly clock: Pick<Clock, 'now'>
  readonly random: Pick<Random, 'id'>
}

type Confirm = (retireAt: number) => Promise<void>

export function createRegistryBackend(options: RegistryBackendOptions): KeyBackend {
  const { registry, clock } = options
  const pending = new Map<string, Confirm>()
  const records = new Map<string, KeyRecord>()

  async function stageOne(key: ManagedKey, held: Held | undefined): Promise<StagedSecret | undefined> {
    const record = key.id === undefined ? undefined : (records.get(key.id) ?? (await registry.find(key.id)))
    if (record === undefined) throw new PortcullisError('rotated_meanwhile', 'a key is gone meanwhile')
    const [current] = record.secrets
    const pepper = options.pepper()
    const taken = await takeUp(record, key.owner, held)
    const issuedAt = taken?.issuedAt ?? clock.now()
    const text = taken?.text ?? generateKey(record.env, record.id, options.random)
    const life = lifetimeOf({ issuedAt: current.issuedAt, ...pick(record.expiresAt) })
    const expiry = pick(life === undefined ? undefined : issuedAt + life)
    pending.set(record.id, async (retireAt) => {
      const done = await registry.rotate(record.id, {
        hash: hashKey(pepper, text),
        at: issuedAt,
        overlapMs: Math.max(0, retireAt - issuedAt),
        // The secret that was seen, and no other.
        issuedBefore: current.issuedAt + 1,
        ...expiry,
      })
      if (done.type !== 'rotated')
        throw new PortcullisError(
          'rotated_meanwhile',
          `${record.id}: was ${done.type === 'not_due' ? 'rotated' : 'revoked'} by somebody else meanwhile; the secret that was just delivered for it is not valid`,
        )
    })
    return { id: record.id, owner: key.owner, issuedAt, ...expiry, reveal: () => text }
  }

  /** What a run that was killed delivered but did not come to confirm. */
  async function takeUp(record: KeyRecord, owner: string, held: Held | undefined) {
    const found = await held?.({ id: record.id, owner })
    if (found === undefined || parseKey(found.text)?.id !== record.id) return undefined
    const hash = hashKey(options.pepper(), found.text)
    // An older one was valid once and is no longer to be.
    const isNew = found.issuedAt > record.secrets[0].issuedAt && found.issuedAt <= clock.now()
    return isNew && !record.secrets.some((secret) => secret.hash === hash) ? found : undefined
  }

  return {
    name: 'the Redis registry',
    batch: 1,
    async list() {
      records.clear()
      for await (const record of registry.list()) records.set(record.id, record)
      const now = clock.now()
      return [...records.values()].map((record) => ({
        ...keyOf(record, now),
        recognises: (text: string) => {
          const hash = hashKey(options.pepper(), text)
          return record.secrets.some((secret) => sameHash(secret.hash, hash))
        },
      }))
    },
    async issue({ owner, tags, cidrs, scopes, lifetimeMs }) {
      const pepper = options.pepper()
      const { id, text } = options.mint()
      const issuedAt = clock.now()
      const record: KeyRecord = {
        id,
        env: options.env,
        consumer: { id: owner, username: owner },
        tags,
        ...(cidrs === undefined ? {} : { cidrs }),
        ...(scopes === undefined ? {} : { scopes }),
        createdAt: issuedAt,
        ...pick(lifetimeMs === undefined ? undefined : issuedAt + lifetimeMs),
        secrets: [{ hash: hashKey(pepper, text), issuedAt }],
      }
      pending.set(id, () => registry.issue(record))
      return { id, owner, issuedAt, ...pick(record.expiresAt), reveal: () => text }
    },
    async stage(keys, held) {
      const staged: StagedSecret[] = []
      for (const key of keys) {
        const secret = await stageOne(key, held)
        if (secret !== undefined) staged.push(secret)
      }
      return staged
    },
    async confirm(staged, retireAt) {
      for (const { id } of staged) {
        await pending.get(id)?.(retireAt)
        pending.delete(id)
      }
    },
    async revoke({ id }, reason) {
      if (id !== undefined) await registry.revoke(id, { at: clock.now(), reason })
    },
    // The registry itself forgets what has ended, with the next rotation.
    async prune() {},
    close: () => registry.close(),
  }
}

function keyOf(record: KeyRecord, now: number): ManagedKey {
  const { id, consumer, tags, revoked, secrets } = record
  const live = secrets.filter(({ validUntil }) => validUntil === undefined || validUntil > now)
  return {
    id,
    owner: consumer.username ?? consumer.customId ?? consumer.id,
    tags,
    versions: live.map((secret, index): KeyVersion => {
      const expiresAt = index === 0 ? record.expiresAt : secret.validUntil
      return {
        ref: `${id}.${secrets.indexOf(secret)}`,
        state: index === 0 ? 'current' : 'retired',
        issuedAt: secret.issuedAt,
        ...pick(expiresAt),
      }
    }),
    ...(revoked === undefined ? {} : { revoked: true }),
    ...(live.length < MAX_SECRETS
      ? {}
      : { fixed: `${live.length} of its secrets are still valid; wait for one to end` }),
  }
}

function pick(expiresAt: number | undefined) {
  return expiresAt === undefined ? {} : { expiresAt }
}
