import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createDeps } from '../../../plugins/deps.ts'
import { openRevocationStore, revocationFields } from '../../../policies/revocation/index.ts'
import { createRuntime } from '../../../policies/runtime.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { haveRedisServer } from '../../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../../support/redis/server.ts'
import { createAuditFile } from './support/audit.ts'
import { ask, PROXY, QUIET, setStage, TEN_THOUSAND } from './support/stage.ts'

const KEYED = [{ 'llm-key': null }, { 'key-auth': null }]
const ADA = { kind: 'consumer', value: 'ada' } as const

describe.skipIf(!haveRedisServer('the deny list on Express Gateway'))('the deny list', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.close())

  /** Another node, which revokes. */
  function operator() {
    const revocation = { store: 'redis', redis: { host: redis.host, port: redis.port, command_timeout_ms: 5_000 } }
    const runtime = createRuntime()
    onTestFinished(() => runtime.close())
    const store = openRevocationStore(parseConfig(revocationFields, revocation), createDeps({ logger: QUIET, runtime }))
    onTestFinished(async () => void (await store.lift(ADA)))
    const revoke = () => store.revoke({ ...ADA, reason: 'leaked', revokedAt: Date.now() })
    return { revocation, store, revoke }
  }

  it('is honoured beside the audit log by whoever decides, and the refusal is recorded', async () => {
    const { revocation, revoke } = operator()
    const audit = createAuditFile()
    const limit = { 'llm-token-limit': { action: { ...TEN_THOUSAND, revocation } } }
    const stage = await setStage({ policies: [...KEYED, audit.step, limit, PROXY] })
    expect((await ask(stage)).status).toBe(200)
    await revoke()
    let asked = 1
    await vi.waitFor(
      async () => {
        asked++
        const reply = await ask(stage)
        expect(await reply.json()).toMatchObject({ error: { code: 'key_revoked' } })
      },
      { timeout: 10_000, interval: 50 },
    )
    expect((await audit.records(asked)).at(-1)).toMatchObject({
      'portcullis.decision': 'reject',
      'portcullis.policy': 'llm-token-limit',
      'portcullis.code': 'key_revoked',
      'http.response.status_code': 401,
    })
    expect(stage.model.requests.length).toBeLessThan(asked)
  })

  it('is not the audit log’s to honour: it decides nothing', async () => {
    const { store, revoke } = operator()
    const audit = createAuditFile()
    const stage = await setStage({ policies: [...KEYED, audit.step, PROXY] })
    await revoke()
    expect(await store.list()).toMatchObject([ADA])
    expect((await ask(stage)).status).toBe(200)
    expect((await audit.records(1))[0]).toMatchObject({ 'portcullis.decision': 'pass', 'user.name': 'ada' })
  })
})
