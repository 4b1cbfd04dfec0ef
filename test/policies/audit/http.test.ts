import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { otlpLogs } from '../../../policies/audit/otlp.ts'
import type { PostReply } from '../../../policies/audit/ports.ts'
import { auditRecordSchema } from '../../../policies/audit/schema.ts'
import { type HttpOptions, httpTarget } from '../../../policies/audit/sinks/http.ts'
import { PartlyRefused, Refused, RetryLater } from '../../../policies/audit/sinks/target.ts'
import { createDisk, createOutputs, makeRecord } from './support.ts'

const OPTIONS: HttpOptions = {
  url: 'http://collector.test/logs',
  headers: { authorization: 'Bearer collector-secret' },
  format: 'ndjson',
  timeoutMs: 1_000,
}
const LINES = [1, 2, 3].map((number) =>
  JSON.stringify(makeRecord(number, { 'portcullis.would_reject': ['invalid_key'] })),
)

function stage(reply: (lines: number) => PostReply, options: Partial<HttpOptions> = {}) {
  const outputs = createOutputs({
    files: createDisk(() => 0),
    post: async ({ body }) => reply(Buffer.from(body).toString().trim().split('\n').length),
  })
  return { outputs, target: httpTarget({ ...OPTIONS, ...options }, outputs) }
}

describe('a collector', () => {
  it('gets one JSON object a line', async () => {
    const { outputs, target } = stage(() => ({ status: 204 }))
    expect(await target.deliver(LINES)).toBe(3)
    const [post] = outputs.posts
    expect(post?.headers).toEqual({ ...OPTIONS.headers, 'content-type': 'application/x-ndjson' })
    expect(Buffer.from(post?.body ?? []).toString()).toBe(`${LINES.join('\n')}\n`)
  })

  it('gets OTLP logs as the protocol’s JSON encoding has them', async () => {
    const { outputs, target } = stage(() => ({ status: 200 }), { format: 'otlp' })
    await target.deliver(LINES)
    expect(outputs.posts[0]?.headers['content-type']).toBe('application/json')
    const sent = JSON.parse(Buffer.from(outputs.posts[0]?.body ?? []).toString())
    const [record] = sent.resourceLogs[0].scopeLogs[0].logRecords
    expect(sent.resourceLogs[0].scopeLogs[0].logRecords).toHaveLength(3)
    expect(record).toMatchObject({
      timeUnixNano: '1795428000001000000',
      severityNumber: 9,
      eventName: 'portcullis.audit',
    })
    const attributes = Object.fromEntries(
      record.attributes.map(({ key, value }: { key: string; value: unknown }) => [key, value]),
    )
    expect(attributes).toMatchObject({
      'gen_ai.usage.input_tokens': { intValue: '1' },
      'portcullis.decision': { stringValue: 'pass' },
      'portcullis.would_reject': { arrayValue: { values: [{ stringValue: 'invalid_key' }] } },
    })
    expect(attributes.time).toBeUndefined()
    const [failed] = (
      otlpLogs([JSON.stringify(makeRecord(1, { 'error.type': '502', 'portcullis.audit.sample': 0.5 }))]) as typeof sent
    ).resourceLogs[0].scopeLogs[0].logRecords
    expect(failed).toMatchObject({ severityNumber: 13, severityText: 'WARN' })
    expect(failed.attributes).toContainEqual({ key: 'portcullis.audit.sample', value: { doubleValue: 0.5 } })
  })

  it.each([301, 401, 403, 404, 408, 429, 500, 503])('that answers %i is asked again', async (status) => {
    const { target } = stage(() => ({ status, retryAfterMs: 7_000 }))
    await expect(target.deliver(LINES)).rejects.toBeInstanceOf(RetryLater)
    await expect(target.deliver(LINES)).rejects.toMatchObject({
      afterMs: 7_000,
      code: `http_${Math.floor(status / 100)}xx`,
    })
  })

  it.each([400, 409, 415, 422])('that answers %i gets no second look at the same records', async (status) => {
    const { target } = stage(() => ({ status }))
    await expect(target.deliver(LINES)).rejects.toBeInstanceOf(Refused)
  })

  it.each<[string, string | undefined, number]>([
    ['a number', '{"partialSuccess":{"rejectedLogRecords":2,"errorMessage":"collector-secret"}}', 2],
    ['text, as protobuf writes large numbers', '{"partialSuccess":{"rejectedLogRecords":"1"}}', 1],
    ['more than there were', '{"partialSuccess":{"rejectedLogRecords":"99"}}', 3],
  ])('that takes OTLP logs in part says how many are lost, as %s', async (_name, json, lost) => {
    const { target } = stage(() => ({ status: 200, ...(json === undefined ? {} : { json }) }), { format: 'otlp' })
    const fault = await target.deliver(LINES).catch((error: unknown) => error)
    expect(fault).toBeInstanceOf(PartlyRefused)
    expect(fault).toMatchObject({ code: 'otlp_partial_success', taken: 3, lost })
    expect(`${fault}`).not.toContain('collector-secret')
  })

  it.each([
    '{}',
    '{"partialSuccess":{}}',
    '{"partialSuccess":{"rejectedLogRecords":"0","errorMessage":"all is well"}}',
    '{"partialSuccess":{"rejectedLogRecords":-1}}',
    '{"partialSuccess":[]}',
    'null',
    '<html>',
    '',
  ])('that takes OTLP logs may answer %j', async (json) => {
    expect(await stage(() => ({ status: 200, json }), { format: 'otlp' }).target.deliver(LINES)).toBe(3)
  })

  it('of NDJSON is not asked about OTLP', async () => {
    const json = '{"partialSuccess":{"rejectedLogRecords":2}}'
    expect(await stage(() => ({ status: 200, json })).target.deliver(LINES)).toBe(3)
  })

  it('that calls a batch too large gets halves, down to one record', async () => {
    const { outputs, target } = stage((lines) => ({ status: lines > 1 ? 413 : 200 }))
    expect(await target.deliver(LINES)).toBe(1)
    expect(outputs.posts).toHaveLength(3)
    await expect(stage(() => ({ status: 413 })).target.deliver(LINES)).rejects.toBeInstanceOf(Refused)
  })
})

it('the schema of a record is one, and knows every line above', () => {
  const validate = new Ajv2020({ allErrors: true, strict: true }).compile(auditRecordSchema)
  for (const line of LINES) expect(validate(JSON.parse(line)), JSON.stringify(validate.errors)).toBe(true)
  expect(validate({ ...makeRecord(1), prompt: 'x' })).toBe(false)
})
