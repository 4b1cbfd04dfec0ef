/** API keys: their form, their registry, and the policy `llm-api-key`. */

export { type AddressRange, parseAddress, parseRange } from './address.ts'
export type { ApiKeyConfig } from './config.ts'
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
export { type AgeRules, type AgeVerdict, formatDay, judgeAge, type Life, lifeOf, parseDate, TAGS } from './lifecycle.ts'
export { createMemoryRegistry } from './memory-registry.ts'
export { openKeyRegistry, type RegistryConfig } from './open.ts'
export { type ApiKeyPolicy, apiKey, EXPIRES_IN } from './policy.ts'
export type { KeyConsumer, KeyRecord, Rotated, Rotation, StoredSecret } from './record.ts'
export { createRedisRegistry } from './redis-registry.ts'
export { gatewayUseName, type KeyRegistry, useName } from './registry.ts'
