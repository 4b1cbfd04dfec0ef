/** API keys: their form, their registry, and the policy `llm-api-key`. */

export {
  createKeyIssuer,
  type Deliver,
  type IssuingOptions,
  type KeyIssuer,
  type KeyOrder,
  type RotatedKey,
} from './issuing.ts'
export {
  fingerprintOf,
  generateKey,
  hashKey,
  KEY_PATTERN,
  looksOwn,
  newKeyId,
  type ParsedKey,
  parseKey,
  sameHash,
} from './key-format.ts'
export { createMemoryRegistry } from './memory-registry.ts'
export type { KeyConsumer, KeyRecord, Rotated, Rotation, StoredSecret } from './record.ts'
export { createRedisRegistry } from './redis-registry.ts'
export { gatewayUseName, type KeyRegistry, useName } from './registry.ts'
