import { once } from 'node:events'
import { request } from 'node:http'
import { describe, expect, it, vi } from 'vitest'
import type { AuditRecord } from '../../../policies/audit/index.ts'
import { createAuditFile } from './support/audit.ts'
import { createHesitant, createSpy } from './support/spy.ts'
import { ask, CHAT, LIMIT, nextClientGone, PROXY, setStage } from './support/stage.ts'

const KEY = { 'llm-key': null }
const AUTH = { 'key-auth': null }
const STREAM = { ...CHAT, stream: true, stream_options: { include_usage: true } }
const SOON = { timeout: 5_000, interval: 10 }

describe('the audit log of a pipeline', () => {
  it('has a record of a request that was answered, with what was estimated and what was used', async () => {
    const audit = createAuditFile()
    const stage = await setStage({ policies: [KEY, AUTH, audit.step, LIMIT, PROXY] })
    const reply = await ask(stage, { headers: { 'x-request-id': 'mine-1' } })
    await reply.arrayBuffer()
    const [record] = await audit.records(1)
    expect(record).toMatchObject({
      'portcullis.request.id': 'mine-1',
      'portcullis.decision': 'pass',
      'portcullis.ended': 'complete',
      'portcullis.route.name': 'llm',
      'portcullis.service.name': 'model',
      'user.name': 'ada',
      'portcullis.credential.fingerprint': expect.stringMatching(/^[0-9a-f]{32}$/),
      'client.address': '127.0.0.1',
      'http.request.method': 'POST',
      'http.response.status_code': 200,
      'portcullis.upstream.status_code': 200,
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'gpt-4o-mini',
      'gen_ai.request.max_tokens': 20,
      'gen_ai.usage.output_tokens': 20,
      'portcullis.usage.source': 'reported',
      'portcullis.usage.estimated.output_tokens': 20,
    })
    expect(record?.['portcullis.usage.estimated.input_tokens']).toBeGreaterThan(0)
    expect(record?.['portcullis.duration_ms']).toBeGreaterThan(0)
    expect(record?.['portcullis.upstream.duration_ms']).toBeGreaterThan(0)
  })

  it('has one of every request that somebody refused: before it, after it, and of none of this pack', async () => {
    const audit = createAuditFile()
    const limit = { 'llm-token-limit': { action: { limits: [{ name: 'tokens', limit: 5, window_seconds: 3_600 }] } } }
    const stage = await setStage({
      policies: [KEY, AUTH, { 'rate-limit': { action: { max: 3, windowMs: 60_000 } } }, audit.step, limit, PROXY],
    })
    expect((await ask(stage, { key: 'nobody:knows' })).status).toBe(401)
    expect((await ask(stage, { headers: { 'x-api-key': 'another:key' } })).status).toBe(401)
    expect((await ask(stage)).status).toBe(429)
    expect((await ask(stage, { body: { ...CHAT, max_tokens: 'x' } })).status).toBe(400)
    await ask(stage)
    expect((await ask(stage)).status).toBe(429)
    const records = await audit.records(6)
    const seen = records.map((record) => [
      record['http.response.status_code'],
      record['portcullis.policy'],
      record['portcullis.code'] ?? record['error.type'],
    ])
    expect(seen.slice(0, 4)).toEqual([
      [401, 'other', '401'],
      [401, 'llm-key', 'invalid_key'],
      [429, 'llm-token-limit', 'request_exceeds_limit'],
      [400, 'llm-token-limit', 'invalid_request'],
    ])
    expect(seen[5]).toEqual([429, 'other', '429'])
    for (const record of records) {
      expect(record).toMatchObject({
        'portcullis.decision': 'reject',
        'portcullis.route.name': 'llm',
        'portcullis.usage.source': 'none',
        'gen_ai.operation.name': 'chat',
        'portcullis.ended': 'not_forwarded',
      })
    }
    expect(stage.model.requests).toEqual([])
  })

  it('shows what shadow mode held back', async () => {
    const audit = createAuditFile({ only_on: ['would_reject'] })
    const limits = [{ name: 'tokens', limit: 5, window_seconds: 3_600, mode: 'shadow' }]
    const stage = await setStage({ policies: [audit.step, { 'llm-token-limit': { action: { limits } } }, PROXY] })
    expect((await ask(stage, { key: undefined })).status).toBe(200)
    const [record] = await audit.records(1)
    expect(record).toMatchObject({
      'portcullis.decision': 'pass',
      'portcullis.would_reject': ['request_exceeds_limit'],
      'portcullis.would_reject.rules': ['tokens'],
    })
  })

  it('tells a client who left from an upstream that failed', async () => {
    const audit = createAuditFile()
    const stage = await setStage({ policies: [audit.step, PROXY] })
    const stop = new AbortController()
    const hanging = { ...STREAM }
    const reply = await ask(stage, {
      key: undefined,
      body: hanging,
      headers: { 'x-model-hang': '9' },
      signal: stop.signal,
    })
    await reply.body?.getReader().read()
    stop.abort()
    await audit.records(1)
    const broken = await ask(stage, { key: undefined, body: STREAM, headers: { 'x-model-break': '5' } })
    await broken.text().catch(() => undefined)
    const [left, failed] = await audit.records(2)
    expect(left).toMatchObject({ 'portcullis.ended': 'client_gone', 'portcullis.usage.source': 'delivered' })
    expect(left?.['portcullis.usage.delivered.output_tokens']).toBeGreaterThan(0)
    expect(failed?.['portcullis.ended']).toBe('upstream_failed')
  })

  it('has a record of a client who left while a policy was still deciding', async () => {
    const audit = createAuditFile()
    const { spy, decide } = createHesitant()
    const stage = await setStage({ extra: [spy.policy], policies: [audit.step, { 'llm-spy': null }, PROXY] })
    const stop = new AbortController()
    const gone = nextClientGone(stage)
    const pending = ask(stage, { key: undefined, signal: stop.signal })
    pending.catch(() => undefined)
    await vi.waitFor(() => expect(spy.seen).toHaveLength(1), SOON)
    stop.abort()
    await gone
    decide()
    const [record] = await audit.records(1)
    expect(record).toMatchObject({ 'portcullis.ended': 'not_forwarded', 'gen_ai.request.model': 'gpt-4o-mini' })
    expect(record?.['http.response.status_code']).toBeUndefined()
  })

  it.each([true, false])(
    'loses nothing of a body that is too large for it to look into (another policy reads it: %s)',
    async (readAgain) => {
      const audit = createAuditFile({ max_body_bytes: 1_024, content: 'redacted' })
      const spy = createSpy({ maxBodyBytes: 1_000_000 })
      const stage = await setStage({
        extra: [spy.policy],
        policies: [audit.step, ...(readAgain ? [{ 'llm-spy': null }] : []), PROXY],
      })
      const body = JSON.stringify({ ...CHAT, messages: [{ role: 'user', content: 'x'.repeat(50_000) }] })
      expect((await ask(stage, { key: undefined, body })).status).toBe(200)
      // Without a length, so that it is only known to be too large once a part was read.
      const sent = request(`${stage.gateway.baseUrl}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
      })
      for (let at = 0; at < body.length; at += 700) sent.write(body.slice(at, at + 700))
      sent.end()
      const [reply] = await once(sent, 'response')
      reply.resume()
      await once(reply, 'end')
      expect(reply.statusCode).toBe(200)
      expect(spy.seen.map((seen) => seen.body === body)).toEqual(readAgain ? [true, true] : [])
      expect(stage.model.requests.map((seen) => Buffer.from(seen.body).toString() === body)).toEqual([true, true])
      const records = await audit.records(2)
      expect(records.map((record) => record['portcullis.content.request.dropped'])).toEqual(['too_large', 'too_large'])
    },
  )

  it('keeps a reply only after redaction, put together from its pieces', async () => {
    const audit = createAuditFile({ content: 'redacted' })
    const stage = await setStage({ policies: [audit.step, PROXY] })
    for (const body of [CHAT, STREAM]) await (await ask(stage, { key: undefined, body })).text()
    const [whole, streamed] = await audit.records(2)
    const text = (
      JSON.parse(whole?.['portcullis.content.response'] ?? '{}') as { choices: { message: { content: string } }[] }
    ).choices[0]?.message.content
    expect(text?.length).toBeGreaterThan(10)
    expect(streamed?.['portcullis.content.response']).toBe(text)
    expect(streamed?.['portcullis.content.request']).toContain('"content":"Hi"')
  })

  it('goes on after a reload, also of what is refused before it', async () => {
    const audit = createAuditFile()
    const stage = await setStage({ policies: [KEY, AUTH, audit.step, LIMIT, PROXY] })
    await stage.gateway.reload()
    expect((await ask(stage, { key: 'nobody:knows' })).status).toBe(401)
    await (await ask(stage)).text()
    expect((await audit.records(2)).map((record) => record['portcullis.decision'])).toEqual(['reject', 'pass'])
  })

  it('has one record of a request, however many pipelines log alike', async () => {
    const audit = createAuditFile()
    const policies = [KEY, AUTH, audit.step, PROXY]
    const stage = await setStage({
      policies,
      config: {
        apiEndpoints: { llm: { host: '*', paths: '/v1/*' }, other: { host: '*', paths: '/other/*' } },
        pipelines: { llm: { apiEndpoints: ['llm'], policies }, other: { apiEndpoints: ['other'], policies } },
      },
    })
    expect((await ask(stage, { key: 'nobody:knows' })).status).toBe(401)
    expect((await ask(stage, { key: 'nobody:knows', path: '/other/v1/chat/completions' })).status).toBe(401)
    await (await ask(stage)).text()
    await stage.gateway.reload()
    expect((await ask(stage, { key: 'nobody:knows' })).status).toBe(401)
    const seen = (await audit.records(4)).map((record) => [
      record['portcullis.route.name'],
      record['http.response.status_code'],
    ])
    expect(seen).toEqual([
      ['llm', 401],
      ['other', 401],
      ['llm', 200],
      ['llm', 401],
    ])
  })

  it('has a record of what was refused between two logs in both, and one in each', async () => {
    const [first, second] = [createAuditFile(), createAuditFile({ only_on: ['refused'] })]
    const limit = { 'llm-token-limit': { action: { limits: [{ name: 'tokens', limit: 60, window_seconds: 3_600 }] } } }
    const stage = await setStage({ policies: [KEY, AUTH, first.step, limit, second.step, PROXY] })
    expect((await ask(stage, { key: 'nobody:knows' })).status).toBe(401)
    await (await ask(stage)).text()
    expect((await ask(stage, { body: { ...CHAT, max_tokens: 70 } })).status).toBe(429)
    const status = (records: readonly AuditRecord[]) => records.map((record) => record['http.response.status_code'])
    expect(status(await first.records(3))).toEqual([401, 200, 429])
    expect(status(await second.records(2))).toEqual([401, 429])
  })

  it('behind the condition `always` has records of every request', async () => {
    const audit = createAuditFile()
    const { 'llm-audit-log': log } = audit.step as { readonly 'llm-audit-log': object }
    const stage = await setStage({
      policies: [KEY, AUTH, { 'llm-audit-log': { ...log, condition: { name: 'always' } } }, PROXY],
    })
    expect((await ask(stage, { key: 'nobody:knows' })).status).toBe(401)
    await (await ask(stage)).text()
    expect((await audit.records(2)).map((record) => record['portcullis.decision'])).toEqual(['reject', 'pass'])
  })

  it('behind a condition has records of those requests only for which it ran', async () => {
    const audit = createAuditFile()
    const step = {
      'llm-audit-log': {
        ...((audit.step as never)['llm-audit-log'] as object),
        condition: { name: 'method', methods: ['GET'] },
      },
    }
    const stage = await setStage({ policies: [step, PROXY] })
    await (await ask(stage, { key: undefined })).text()
    await (await ask(stage, { key: undefined, method: 'GET', path: '/v1/models' })).text()
    const [record] = await audit.records(1)
    expect(record?.['http.request.method']).toBe('GET')
  })
})
