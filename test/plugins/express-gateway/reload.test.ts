/** Express Gateway mounts a changed `gateway.config.yml` while it runs, and goes on with the old one when it cannot. */

import { EventEmitter } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { init } from '../../../plugins/express-gateway/index.ts'
import { createAuditFile } from './support/audit.ts'
import { llmConfig } from './support/llm-config.ts'
import { createSpy } from './support/spy.ts'
import { ask, CHAT, LIMIT, PROXY, QUIET, type Stage, setStage, TEN_THOUSAND } from './support/stage.ts'

const KEY = { 'llm-key': null }
const AUTH = { 'key-auth': null }
const STREAM = { ...CHAT, stream: true, stream_options: { include_usage: true } }
const SOON = { timeout: 5_000, interval: 10 }

/** Makes the pipeline consist of these policies; further pipelines, of an endpoint that nobody calls, are mounted after it. */
async function reload(stage: Stage, policies: readonly object[], further: readonly object[] = []): Promise<void> {
  const config = llmConfig({ upstreamUrl: stage.model.url, tokenLimit: TEN_THOUSAND, policies })
  stage.gateway.rewrite({
    ...config,
    policies: [...new Set([...policies, ...further].flatMap(Object.keys))],
    pipelines: {
      llm: { apiEndpoints: ['llm'], policies },
      ...(further.length === 0 ? {} : { further: { apiEndpoints: ['further'], policies: further } }),
    },
  })
  await stage.gateway.reload()
}

describe('a reload', () => {
  it('keeps what was counted', async () => {
    const stage = await setStage()
    const remaining = async (): Promise<number> =>
      Number((await ask(stage)).headers.get('x-ratelimit-remaining-tokens'))
    const first = await remaining()
    await stage.gateway.reload()
    expect(await remaining()).toBeLessThan(first)
    expect(await remaining()).toBeLessThan(first - 20)
  })

  it('in mid-stream settles the request all the same', async () => {
    const spy = createSpy({
      decide: (_, reservation) => ({
        type: 'pass',
        reservation,
        tap: { protocol: 'openai-chat', stream: true, withholdUsage: false },
      }),
    })
    const stage = await setStage({ extra: [spy.policy], policies: [{ 'llm-spy': null }, PROXY] })
    const reply = await ask(stage, { key: undefined, body: STREAM, headers: { 'x-model-pace': '10' } })
    await stage.gateway.reload()
    await reply.text()
    await vi.waitFor(() => expect(spy.settled).toHaveLength(1), SOON)
    expect(spy.settled[0]?.outcome).toMatchObject({ ended: 'complete', usage: { outputTokens: 20 } })
  })

  it('that takes the audit log out of a pipeline ends its records, also of what others refuse', async () => {
    const [audit, later] = [createAuditFile(), createAuditFile()]
    const stage = await setStage({ policies: [KEY, AUTH, audit.step, PROXY] })
    await (await ask(stage)).text()
    await audit.records(1)
    await reload(stage, [AUTH, PROXY])
    expect((await ask(stage, { key: 'nobody:knows' })).status).toBe(401)
    await reload(stage, [KEY, AUTH, later.step, PROXY])
    expect((await ask(stage, { key: 'nobody:knows' })).status).toBe(401)
    await later.records(1)
    await audit.records(1)
  })

  it('runs init again, which listens to the gateway once only', () => {
    const eventBus = new EventEmitter()
    const services = { credential: { getCredential: async () => undefined } }
    const listeners = () => eventBus.eventNames().map((name) => [name, eventBus.listenerCount(name)])
    const start = () => init({ logger: QUIET, services, settings: {}, eventBus, registerPolicy() {} })
    start()
    const first = listeners()
    start()
    expect(first.length).toBeGreaterThan(0)
    expect(listeners()).toEqual(first)
  })
})

describe('a reload that is refused', () => {
  it('changes nothing', async () => {
    const lines: string[] = []
    const stage = await setStage({ log: (_, line) => lines.push(line) })
    await reload(stage, [PROXY, LIMIT])
    expect(lines.join('\n')).toContain('Could not hot-reload')
    expect((await ask(stage)).headers.get('x-ratelimit-limit-tokens')).toBe('10000')
    expect((await ask(stage, { key: undefined })).status).toBe(401)
  })

  it('leaves the records to the audit log of the config that goes on', async () => {
    const lines: string[] = []
    const [audit, refused] = [createAuditFile(), createAuditFile()]
    const stage = await setStage({
      policies: [KEY, AUTH, audit.step, LIMIT, PROXY],
      log: (_, line) => lines.push(line),
    })
    await reload(stage, [KEY, AUTH, refused.step, LIMIT, PROXY], [PROXY, LIMIT])
    expect(lines.join('\n')).toContain('Could not hot-reload')
    expect((await ask(stage, { key: 'nobody:knows' })).status).toBe(401)
    await (await ask(stage)).text()
    const records = await audit.records(2)
    expect(records.map((record) => record['portcullis.decision'])).toEqual(['reject', 'pass'])
    await refused.records(0)
  })
})
