/** One instance of the policy on a clock that tests turn, and requests as a gateway would hand them over. */

import { systemRandom } from '../../../plugins/deps.ts'
import { apiKey, type KeyRecord, type KeyRegistry, openKeyRegistry } from '../../../policies/api-key/index.ts'
import { generateKey, hashKey, newKeyId } from '../../../policies/api-key/key-format.ts'
import type { Caller, Exchange } from '../../../policies/policy.ts'
import { createMemoryRevocations } from '../../../policies/revocation/index.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { createTurnedWorld, exchangeOf, verdictsOf } from '../world.ts'

export const START = Date.UTC(2026, 5, 1)
export const PEPPER = 'a pepper that only this test has.'
export const OWN = { own_keys: { pepper: PEPPER } }

/** Stands before the registry, and counts, fails or waits as told. */
export interface Meddler {
  finds: number
  failing: boolean
  /** While set, reads wait for it. */
  hold?: Promise<void>
}

export function createWorld() {
  const { deps, lines, wait } = createTurnedWorld({ start: START, random: systemRandom })
  const registry = openKeyRegistry({ store: 'memory' }, deps)
  const meddler: Meddler = { finds: 0, failing: false }
  meddle(registry, meddler)

  return {
    deps,
    lines,
    registry,
    meddler,
    revocations: deps.runtime.share('revocation.memory', {}, () => createMemoryRevocations(deps)),
    /** Moves the clock, runs what was due, and lets what that started go on. */
    async wait(ms: number) {
      wait(ms)
      await new Promise((done) => setImmediate(done))
    },
    /** Issues a key. */
    async issue(more: Partial<KeyRecord> = {}, pepper = PEPPER) {
      const id = newKeyId(systemRandom)
      const key = generateKey(more.env ?? 'live', id, systemRandom)
      const secret = { hash: hashKey(pepper, key), issuedAt: deps.clock.now() }
      const base = {
        id,
        env: 'live',
        consumer: { id: 'ada' },
        tags: [],
        createdAt: deps.clock.now(),
        secrets: [secret],
      } as const
      const record: KeyRecord = { ...base, ...more }
      await registry.issue(record)
      return { id, key, record }
    },
  }
}

function meddle(registry: KeyRegistry, meddler: Meddler): void {
  const { find, noteUse } = registry
  Object.assign(registry, {
    async find(id: string) {
      meddler.finds++
      await meddler.hold
      if (meddler.failing) throw new Error('down')
      return find(id)
    },
    async noteUse(name: string, at: number) {
      if (meddler.failing) throw new Error('down')
      return noteUse(name, at)
    },
  })
}

export interface RequestParts {
  readonly headers?: Readonly<Record<string, string>>
  readonly caller?: Caller
  readonly address?: string
}

export function exchange({ headers = {}, caller, address = '192.0.2.1' }: RequestParts): Exchange {
  return exchangeOf({ headers, body: () => undefined, caller: () => caller ?? { address } })
}

export function bearer(key: string, more: RequestParts = {}): RequestParts {
  return { ...more, headers: { authorization: `Bearer ${key}` } }
}

export function setUp(config: Readonly<Record<string, unknown>> = {}, world = createWorld()) {
  const instance = apiKey.create(parsePolicyConfig(apiKey, config), world.deps)
  const decide = async (parts: RequestParts = {}) => instance.decide(exchange(parts))
  return { ...world, instance, decide, ...verdictsOf(decide) }
}
