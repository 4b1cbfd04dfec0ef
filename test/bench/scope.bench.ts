/** Scope decisions with a token that was verified before, and verification against jose called directly. */

import { importJWK, type JWK, jwtVerify } from 'jose'
import { createDeps } from '../../plugins/deps.ts'
import type { Exchange } from '../../policies/policy.ts'
import { createRuntime } from '../../policies/runtime.ts'
import { parseConfig, parsePolicyConfig } from '../../policies/schema/parse.ts'
import { jwtFields, scope } from '../../policies/scope/index.ts'
import { createVerifier } from '../../policies/scope/jwt/verifier.ts'
import { AUDIENCE, ISSUER, makeKey, sign } from '../support/jwks/issuer.ts'
import { type BenchRow, median, ratioRow, sideBySide } from './harness.ts'

const DECISIONS = 100_000
const WITHIN = 0.9
const TOKENS = 512
const QUIET = { info() {}, warn() {}, error() {} }
const BODY = '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say hello."}],"max_tokens":64}'

const now = () => Math.floor(Date.now() / 1_000)
const deps = createDeps({ logger: QUIET, runtime: createRuntime() })

export async function run(): Promise<readonly BenchRow[]> {
  return [
    await decisions('decide with a cached token', 'llm:chat', DECISIONS),
    await decisions('the same, and read the model from a body of 90 bytes', 'llm:chat:gpt-4o-mini'),
    await verification('ES256'),
    await verification('RS256'),
  ]
}

async function issuersOf(alg: string) {
  const key = await makeKey('k-1', alg)
  const issuers = [{ issuer: ISSUER, jwks: JSON.stringify({ keys: [key.jwk] }), audiences: [AUDIENCE] }]
  return { key, issuers }
}

/** @param required operations a second; undefined reports only */
async function decisions(name: string, grants: string, required = 0): Promise<BenchRow> {
  const { key, issuers } = await issuersOf('ES256')
  const claims = { scope: `openid profile ${grants}`, jti: 'token-1', exp: now() + 3_600 }
  const authorization = `Bearer ${await sign(key, now(), { claims })}`
  const instance = scope.create(parsePolicyConfig(scope, { jwt: { issuers }, revocation: { store: 'memory' } }), deps)
  const headers: Readonly<Record<string, string>> = { authorization, 'content-type': 'application/json' }
  const body = new TextEncoder().encode(BODY)
  const caller = { address: '192.0.2.1' }
  const exchange: Exchange = {
    requestId: 'r',
    method: 'POST',
    path: '/v1/chat/completions',
    route: {},
    queryNames: () => [],
    header: (header) => headers[header],
    body: () => body,
    caller: () => caller,
  }
  const decide = async () => {
    const decision = await instance.decide(exchange)
    if (decision.type !== 'pass') throw new Error(`refused with ${decision.code}`)
  }
  const ours = await rate(decide)
  const words = required === 0 ? 'reported only' : `>= ${required.toLocaleString('en-US')} op/s`
  return { name, peer: '-', ours, unit: 'op/s', required: words, pass: ours >= required }
}

async function rate(work: () => Promise<void>): Promise<number> {
  const rates: number[] = []
  for (let round = 0; round < 7; round++) {
    const start = performance.now()
    for (let count = 0; count < 50_000; count++) await work()
    rates.push((50_000 * 1_000) / (performance.now() - start))
  }
  // The first is the warm-up.
  return median(rates.slice(1))
}

/** As in a gateway: every token is a new one, and is remembered afterwards. */
async function verification(alg: string): Promise<BenchRow> {
  const { key, issuers } = await issuersOf(alg)
  const tokens = await Promise.all(
    Array.from({ length: TOKENS }, (_, at) => sign(key, now(), { claims: { jti: `token-${at}`, exp: now() + 3_600 } })),
  )
  const verifier = createVerifier(parseConfig(jwtFields, { issuers, cache_size: TOKENS / 2 }), deps)
  const publicKey = await importJWK(key.jwk as JWK, alg)
  const options = {
    issuer: ISSUER,
    audience: AUDIENCE,
    algorithms: [alg],
    typ: 'at+jwt',
    clockTolerance: 5,
    requiredClaims: ['exp'],
  }
  const [ours, theirs] = [inTurn(tokens), inTurn(tokens)]
  if ((await verifier.verify(ours())).type !== 'verified') throw new Error('refused')
  const speed = await sideBySide(
    () => verifier.verify(ours()),
    () => jwtVerify(theirs(), publicKey, options),
    { rounds: 61, roundMs: 50 },
  )
  return ratioRow(`verify a new ${alg} token`, 'jose.jwtVerify', speed, WITHIN)
}

/** The cache holds half of them, so that each is forgotten when its turn comes again. */
function inTurn(tokens: readonly string[]): () => string {
  let turn = 0
  return () => tokens[turn++ % tokens.length] ?? ''
}
