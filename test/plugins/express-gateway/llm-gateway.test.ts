import { describe, expect, it } from 'vitest'
import { asSingles, inOne, withScope } from '../../conformance/gateway-form.ts'
import { scopeConformance } from '../../conformance/scope.ts'
import { createAuditFile } from './support/audit.ts'
import { startScopeGateway } from './support/scope-gateway.ts'
import { ask, CHAT, PROXY, type Stage, setStage } from './support/stage.ts'

const AUTH = [{ 'llm-key': null }, { 'key-auth': null }]
const SCOPE = { static: { ada: ['llm:chat:gpt-4o-*'] } }
const KEYS = { rotation: { on_unknown_age: 'allow' } }
const HOUR = { window_seconds: 3_600 }
const LIMIT = {
  limits: [
    { ...HOUR, name: 'tokens', limit: 10_000 },
    { ...HOUR, name: 'watched', limit: 1, mode: 'shadow' },
  ],
}
/** What a machine, a clock or an id of its own decides. */
const OWN = ['time', 'portcullis.request.id', 'portcullis.duration_ms', 'portcullis.upstream.duration_ms']
/** Each gateway has consumers and keys of its own. */
const THEIRS = ['user.id', 'portcullis.credential.id', 'portcullis.credential.fingerprint']

/** The model's own clock, inside of its reply: two requests may lie on both sides of a second. */
const CREATED = /"created":\d+/g

async function recordOf(form: (audit: object) => readonly object[], act: (stage: Stage) => Promise<Response>) {
  const audit = createAuditFile({ content: 'redacted' })
  const { action } = (audit.step as { readonly 'llm-audit-log': { readonly action: object } })['llm-audit-log']
  const stage = await setStage({ policies: [...AUTH, ...form(action), PROXY] })
  const reply = await act(stage)
  const text = await reply.text()
  const [record = {}] = await audit.records(1)
  const kept = Object.entries(record)
    .filter(([name]) => ![...OWN, ...THEIRS].includes(name))
    .map(([name, value]) => [name, typeof value === 'string' ? value.replace(CREATED, '"created":0') : value])
  const body = reply.status === 200 ? '' : text
  return { status: reply.status, body, record: Object.fromEntries(kept), reached: stage.model.requests.length }
}

const single = (audit: object) => [
  { 'llm-audit-log': { action: audit } },
  { 'llm-api-key': { action: KEYS } },
  { 'llm-scope': { action: SCOPE } },
  { 'llm-token-limit': { action: LIMIT } },
]
const gateway = (audit: object) => [
  { 'llm-gateway': { action: { audit, api_key: KEYS, scope: SCOPE, token_limit: LIMIT } } },
]

describe('llm-gateway', () => {
  it.each<readonly [what: string, status: number, body: unknown]>([
    ['lets through', 200, CHAT],
    ['streams', 200, { ...CHAT, stream: true }],
    ['refuses a model', 403, { ...CHAT, model: 'o1' }],
    ['refuses what is too much', 429, { ...CHAT, max_tokens: 20_000 }],
    ['refuses what it cannot read', 400, { ...CHAT, max_tokens: 'x' }],
  ])('%s, and records it, as the four single policies do', async (_, status, body) => {
    const act = (stage: Stage) => ask(stage, { body, headers: { 'x-request-id': 'mine' } })
    const ours = await recordOf(gateway, act)
    expect(ours).toEqual(await recordOf(single, act))
    expect(ours).toMatchObject({ status, reached: status === 200 ? 1 : 0 })
    expect(ours.record).toMatchObject({ 'portcullis.decision': status === 200 ? 'pass' : 'reject', 'user.name': 'ada' })
  })

  it('is refused at start for an option that it does not know, wherever that stands', async () => {
    const wrong = { 'llm-gateway': { action: { token_limit: { ...LIMIT, limit: 5 } } } }
    await expect(setStage({ policies: [...AUTH, wrong, PROXY] })).rejects.toThrow()
  })
})

for (const [name, form] of [
  ['llm-gateway', inOne],
  ['the single policies', asSingles],
] as const)
  scopeConformance(`Express Gateway 1.16 with ${name}`, (setup) =>
    startScopeGateway(setup, (scope) => form(withScope(scope))),
  )
