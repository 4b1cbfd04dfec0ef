/** Config fields of the tokens that are trusted. */

import { isLoopback } from '../../loopback.ts'
import { boolean, choice, integer, list, record, string } from '../../schema/declare.ts'
import { type Config, type ConfigIssue, defineFields } from '../../schema/fields.ts'
import { parseKeySet } from './key-document.ts'

/** Asymmetric ones only: with a shared secret every gateway could make tokens, and a public key could pass for one. */
export const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const

const issuerFields = defineFields({
  issuer: {
    type: string({ maxLength: 1024 }),
    description: 'Exact value of the claim `iss`.',
    required: true,
  },
  jwks_url: {
    type: string({ maxLength: 2048, pattern: { js: '^https?://', lua: '^https?://' } }),
    description: 'Where the issuer publishes its keys as a JSON Web Key Set. Either this or `jwks`.',
  },
  jwks: {
    type: string({ maxLength: 262_144 }),
    description: 'The key set itself as JSON text, with public keys only.',
  },
  audiences: {
    type: list(string({ maxLength: 1024 }), { minItems: 1, maxItems: 64 }),
    description: 'Values of which the claim `aud` must hold at least one.',
    required: true,
  },
  algorithms: {
    type: list(choice(...ALGORITHMS), { minItems: 1 }),
    description: 'Signature algorithms that are accepted.',
    default: ['RS256', 'ES256'],
  },
  types: {
    type: list(string({ maxLength: 64 }), { minItems: 1 }),
    description: 'Accepted values of the header `typ`, compared without regard to case.',
    default: ['at+jwt', 'JWT'],
  },
  require_typ: {
    type: boolean(),
    description: 'Refuse a token without the header `typ`. Some issuers leave it out of access tokens.',
    default: true,
  },
  max_age_seconds: {
    type: integer({ min: 1, max: 31_622_400 }),
    description: 'Oldest accepted token in seconds since its `iat`, which is then required. Unset: only `exp` counts.',
  },
})

export const jwtFields = defineFields({
  issuers: {
    type: list(record(issuerFields), { minItems: 1, maxItems: 32 }),
    description: 'Who may issue tokens. Each token is held to the entry of its own `iss`.',
    required: true,
  },
  header: {
    type: string({ maxLength: 64, pattern: { js: '^[a-z][a-z0-9-]*$', lua: '^[a-z][a-z0-9-]*$' } }),
    description: 'Request header that carries the token, in lower case, as `Bearer <token>`.',
    default: 'authorization',
  },
  forward: {
    type: boolean(),
    description: 'Let the token travel on to the upstream. By default the header is removed.',
    default: false,
  },
  scope_claims: {
    type: list(string({ maxLength: 256 }), { minItems: 1, maxItems: 16 }),
    description: 'Claims that hold scopes, as names or dotted paths: text parted by spaces, or a list.',
    default: ['scope', 'scp', 'permissions'],
  },
  clock_tolerance_seconds: {
    type: integer({ min: 0, max: 300 }),
    description: "How far the issuer's clock may be off, in seconds.",
    default: 5,
  },
  refresh_seconds: {
    type: integer({ min: 10, max: 86_400 }),
    description: 'Age in seconds after which a key set is fetched again in the background.',
    default: 600,
  },
  cooldown_seconds: {
    type: integer({ min: 1, max: 3_600 }),
    description: 'Least time in seconds between two fetches from one issuer, whatever tokens arrive.',
    default: 30,
  },
  stale_seconds: {
    type: integer({ min: 0, max: 604_800 }),
    description: 'How many seconds past `refresh_seconds` a key set is still used while its issuer cannot be reached.',
    default: 3_600,
  },
  timeout_ms: {
    type: integer({ min: 50, max: 10_000 }),
    description: "Milliseconds until a fetch is given up. Keep it below the gateway's own deadline (Kong: 1,500).",
    default: 1_000,
  },
  max_jwks_bytes: {
    type: integer({ min: 1_024, max: 1_048_576 }),
    description: 'Largest key set in bytes; a larger one counts as an outage.',
    default: 65_536,
  },
  cache_size: {
    type: integer({ min: 0, max: 1_000_000 }),
    description: 'How many verified tokens are remembered, each until it expires or its key is gone.',
    default: 10_000,
  },
  allow_http: {
    type: boolean(),
    description: 'Accept a `jwks_url` without TLS beyond this machine: whoever is on the way can then make tokens.',
    default: false,
  },
})

export type JwtConfig = Config<typeof jwtFields>
export type IssuerConfig = JwtConfig['issuers'][number]

/** What the field kinds cannot say. */
export function checkJwt(jwt: JwtConfig, path: string): readonly ConfigIssue[] {
  const seen = new Set<string>()
  return jwt.issuers.flatMap((issuer, index) => {
    const at = `${path}.issuers[${index}]`
    const issues: ConfigIssue[] = []
    if (seen.has(issuer.issuer)) issues.push({ path: `${at}.issuer`, message: 'is there twice' })
    seen.add(issuer.issuer)
    if ((issuer.jwks_url === undefined) === (issuer.jwks === undefined))
      issues.push({ path: `${at}.jwks_url`, message: 'or `jwks` is required, and not both' })
    if (issuer.jwks_url !== undefined) {
      const wrong = wrongUrl(issuer.jwks_url, jwt.allow_http)
      if (wrong !== undefined) issues.push({ path: `${at}.jwks_url`, message: wrong })
    }
    if (issuer.jwks !== undefined) {
      const wrong = wrongKeys(issuer.jwks)
      if (wrong !== undefined) issues.push({ path: `${at}.jwks`, message: wrong })
    }
    return issues
  })
}

function wrongUrl(text: string, allowHttp: boolean): string | undefined {
  if (!URL.canParse(text)) return 'is no URL'
  const { protocol, hostname, username, password } = new URL(text)
  if (username !== '' || password !== '') return 'must not hold a user or password'
  if (protocol === 'https:' || allowHttp || isLoopback(hostname)) return undefined
  return 'must be https, unless `allow_http` is set'
}

function wrongKeys(text: string): string | undefined {
  const found = parseKeySet(text)
  if (found === undefined) return 'is no JSON Web Key Set'
  if (found.secret > 0) return 'holds a private or secret key; publish public keys only'
  return found.keys.length === 0 ? 'holds no key' : undefined
}
