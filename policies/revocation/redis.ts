/**
 * Revocations in Redis. Every change gets the next serial; a node asks for what is newer than it has seen. Nothing rides on
 * pub/sub, which loses messages without a word.
 */

import { PortcullisError } from '../errors.ts'
import type { Deps } from '../policy.ts'
import type { RedisConfig } from '../stores/redis/config.ts'
import { connectRedis } from '../stores/redis/connection.ts'
import { MAX_REVOCATIONS } from './memory.ts'
import { keyText, REVOCATION_KINDS, type Revocation, type RevocationKey, type RevocationStore } from './ports.ts'
import { scripts } from './scripts.ts'

/** Changes of one answer. */
const PAGE = 1_000

/** Takes the shared parts of the world; connects in the background. */
export function createRedisRevocations(
  config: RedisConfig,
  { clock, random, logger }: Pick<Deps, 'clock' | 'random' | 'logger'>,
): RevocationStore {
  const connection = connectRedis(config, {
    clock,
    random,
    onReady: () => undefined,
    onRefused: ({ code, message }) => logger.error('the revocation store refuses this config', { code, message }),
  })
  const keys = ['entries', 'log', 'serial', 'expiry'].map((name) => `${config.key_prefix}{revoked}:${name}`)

  async function page(cursor: string | undefined): Promise<readonly string[]> {
    await connection.started
    const reply = await connection.run(scripts.changes, keys, [cursor ?? '', PAGE])
    if (!Array.isArray(reply) || !reply.every((item) => typeof item === 'string')) throw malformed()
    return reply
  }

  async function changes(cursor: string | undefined) {
    const [next = '', more = '', ...entries] = await page(cursor)
    const read = entries.flatMap((entry) => readEntry(entry) ?? [])
    return {
      cursor: next,
      revoked: read.flatMap(({ revocation }) => revocation ?? []),
      lifted: read.flatMap(({ key, revocation }) => (revocation === undefined ? [key] : [])),
      unreadable: entries.length - read.length,
      more: more === '1',
    }
  }

  return {
    changes,
    async revoke(revocation) {
      await connection.started
      const expires = revocation.expiresAt === undefined ? '' : String(Math.ceil(revocation.expiresAt))
      const text = JSON.stringify({ ...keyOf(revocation), revocation })
      const done = await connection.run(scripts.change, keys, [keyText(revocation), text, expires, MAX_REVOCATIONS])
      if (done !== 1) throw new PortcullisError('revocations_full', `There are ${MAX_REVOCATIONS} revocations already.`)
    },
    async lift(key) {
      await connection.started
      return (await connection.run(scripts.lift, keys, [keyText(key), JSON.stringify(keyOf(key))])) === 1
    },
    async list() {
      const all = new Map<string, Revocation>()
      let cursor: string | undefined
      let more = true
      while (more) {
        const found = await changes(cursor)
        if (found.unreadable > 0) throw malformed()
        for (const revocation of found.revoked) all.set(keyText(revocation), revocation)
        for (const key of found.lifted) all.delete(keyText(key))
        cursor = found.cursor
        more = found.more
      }
      const now = clock.now()
      return [...all.values()].filter(({ expiresAt }) => expiresAt === undefined || expiresAt > now)
    },
    close: () => connection.close(),
  }
}

function keyOf({ kind, value, issuer }: RevocationKey): RevocationKey {
  return { kind, value, ...(issuer === undefined ? {} : { issuer }) }
}

interface Entry {
  readonly key: RevocationKey
  /** Absent once it was lifted. */
  readonly revocation: Revocation | undefined
}

/** Undefined when it is none. */
function readEntry(text: string): Entry | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isKey(parsed)) return undefined
  const { revocation } = parsed as { readonly revocation?: Revocation }
  if (revocation !== undefined && !isRevocation(revocation)) return undefined
  return { key: keyOf(parsed), revocation }
}

function isKey(value: unknown): value is RevocationKey {
  if (typeof value !== 'object' || value === null) return false
  const { kind, value: name, issuer } = value as Partial<Record<keyof RevocationKey, unknown>>
  const known = REVOCATION_KINDS.some((one) => one === kind)
  return known && typeof name === 'string' && (issuer === undefined || typeof issuer === 'string')
}

function isRevocation(value: unknown): value is Revocation {
  if (!isKey(value)) return false
  const { reason, revokedAt, expiresAt } = value as Partial<Record<keyof Revocation, unknown>>
  return (
    typeof reason === 'string' &&
    typeof revokedAt === 'number' &&
    (expiresAt === undefined || typeof expiresAt === 'number')
  )
}

function malformed(): PortcullisError {
  return new PortcullisError('store_fault', 'The revocation store holds what is no revocation.')
}
