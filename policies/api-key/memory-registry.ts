/** Keys in this process: for one gateway node that is being tried out, and for tests. */

import { PortcullisError } from '../errors.ts'
import { type KeyRecord, revoked, rotated } from './record.ts'
import type { KeyRegistry } from './registry.ts'

export function createMemoryRegistry(): KeyRegistry {
  const records = new Map<string, KeyRecord>()
  const uses = new Map<string, number>()
  return {
    async issue(record) {
      if (records.has(record.id)) throw keyExists()
      records.set(record.id, record)
    },
    async rotate(id, rotation) {
      const record = records.get(id)
      if (record === undefined) return { type: 'unknown' }
      const done = rotated(record, rotation)
      if (done.type === 'rotated') records.set(id, done.record)
      return done
    },
    async revoke(id, { at, reason }) {
      const record = records.get(id)
      if (record === undefined) return undefined
      const now = revoked(record, at, reason)
      records.set(id, now)
      return now
    },
    async find(id) {
      return records.get(id)
    },
    async *list() {
      yield* [...records.values()]
    },
    async noteUse(name, at) {
      uses.set(name, Math.max(at, uses.get(name) ?? 0))
    },
    async lastUses(names) {
      return names.map((name) => uses.get(name))
    },
    async close() {
      records.clear()
      uses.clear()
    },
  }
}

export function keyExists(): PortcullisError {
  return new PortcullisError('key_exists', 'There is a key of this id already.')
}
