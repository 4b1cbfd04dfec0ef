/** The deny list: who or what must not get in any more, and since when. */

export { createRevocationCheck, type RevocationCheck } from './check.ts'
export { createDenyList, type DenyList, type DenyListOptions, type Subject } from './deny-list.ts'
export { checkRevocation, type RevocationConfig, revocationFields } from './fields.ts'
export { createMemoryRevocations } from './memory.ts'
export { openDenyList, openRevocationStore } from './open.ts'
export {
  REVOCATION_KINDS,
  type Revocation,
  type RevocationKey,
  type RevocationKind,
  type RevocationStore,
} from './ports.ts'
export { createRedisRevocations } from './redis.ts'
export { type Revocable, revocable } from './revocable.ts'
