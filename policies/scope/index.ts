/** The policy `llm-scope` for the APIs this pack knows. */

import { parseJsonBody } from '../llm/json.ts'
import { recognise } from '../llm/operations.ts'
import { createScope } from './policy.ts'

export const scope = createScope({ recognise, parseBody: parseJsonBody })

export type { ScopeConfig } from './config.ts'
export { type Grant, OPERATIONS, parseGrant } from './grants.ts'
export { ALGORITHMS, type IssuerConfig, type JwtConfig, jwtFields } from './jwt/fields.ts'
export { sharedVerifier, type TokenVerifier, type Verification } from './jwt/verifier.ts'
export type { ScopePolicy } from './policy.ts'
