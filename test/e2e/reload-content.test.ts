/** `kong reload` with requests under way: their audit records have the redacted content that waited in the old plugin server. */

import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { AuditRecord } from '../../policies/audit/index.ts'
import { createCanaries, leaksIn } from '../canary/support/canaries.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { chat, send } from './support/ask.ts'
import { configOf, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig, PluginConfig } from './support/kong.ts'
import { until } from './support/wait.ts'

const ROUTES = ['single', 'gateway'] as const
const STREAMS = 8
const CALLERS = 4

interface Sent {
  /** What nobody redacts, for this request alone. */
  readonly word: string
  readonly status: number
  readonly id: string
  readonly text: string
}

const canaries = createCanaries('secret')
let folder: string
let file: string
let model: Model
let kong: Kong | undefined
let sent = 0

function config(): KongConfig {
  const audit = { sinks: [{ type: 'file', path: file }], content: 'redacted', redaction: {} }
  const token_limit = { limits: [tokens()] }
  const guardOfBoth = { name: 'llm-guard', config: { require: ['llm-token-limit', 'llm-audit-log'] } }
  const gateway: PluginConfig[] = [
    { name: 'llm-gateway', config: { audit, token_limit } },
    { name: 'llm-guard', config: { require: ['llm-gateway'] } },
  ]
  return configOf(model.url, {
    // Kong lets a request pass whose plugin could not be asked, which the guard of the audit log does not.
    single: { limits: [tokens()], guard: false, extra: [{ name: 'llm-audit-log', config: audit }, guardOfBoth] },
    gateway: { guard: false, extra: gateway },
  })
}

/** Resolves with the head of the reply; what comes then is in `whole`. */
async function ask(to: Kong, stream: boolean): Promise<{ readonly whole: Promise<Sent> }> {
  sent += 1
  const word = `word-${sent}-of-this-test`
  const content = `Say ${word} to the owner of ${canaries.plant(`prompt ${sent}`)}`
  const reply = await send(to, {
    route: ROUTES[sent % ROUTES.length] as string,
    body: chat({ stream, messages: [{ role: 'user', content }] }),
    headers: stream ? { 'x-model-pace': '100', 'x-model-output': '50' } : { 'x-model-output': '2' },
  })
  const id = reply.headers.get('x-kong-request-id') ?? ''
  return { whole: reply.text().then((text) => ({ word, status: reply.status, id, text })) }
}

/** Short requests, one after the other, until it is told to stop. */
function callOnAndOn(to: Kong) {
  const answers: Sent[] = []
  let going = true
  const loops = Array.from({ length: CALLERS }, async () => {
    while (going) {
      // While the old workers go, a connection may be closed before its request was read.
      const answer = await ask(to, false).then(
        ({ whole }) => whole,
        () => undefined,
      )
      if (answer !== undefined) answers.push(answer)
      if (answer?.status !== 200) await sleep(20)
    }
  })
  return {
    answers,
    async stop() {
      going = false
      await Promise.all(loops)
    },
  }
}

function records(): readonly AuditRecord[] {
  if (!existsSync(file)) return []
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => JSON.parse(line) as AuditRecord)
}

describe.skipIf(kongMissing).each([1, 2])('content of requests under way, %i workers', (workers) => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-content-'))
    chmodSync(folder, 0o777)
    model = await startModel()
  })
  afterEach(async () => {
    await kong?.stop()
    kong = undefined
    rmSync(folder, { recursive: true, force: true })
  })
  afterAll(() => model?.close())

  test('is in their records after a kong reload, once and redacted', async () => {
    file = join(folder, 'audit.ndjson')
    kong = await startKong({ config: config(), workers })
    const before = await kong.pluginServers()
    const streams = await Promise.all(Array.from({ length: STREAMS }, () => ask(kong as Kong, true)))
    const traffic = callOnAndOn(kong)
    await until('traffic', async () => traffic.answers.length > 50)
    await kong.reload()
    await until('the new server alone', async () => {
      const now = await (kong as Kong).pluginServers()
      return now.length === 1 && !before.includes(now[0] as number)
    })
    const reloaded = traffic.answers.length
    await until(
      'traffic again',
      async () => traffic.answers.slice(reloaded).filter(({ status }) => status === 200).length > 50,
    )
    await traffic.stop()
    const whole = await Promise.all(streams.map((stream) => stream.whole))
    for (const { status, text } of whole) expect([status, text.endsWith('data: [DONE]\n\n')]).toEqual([200, true])

    const answered = [...whole, ...traffic.answers].filter(({ status }) => status === 200)
    await until('their records', async () => {
      const known = new Set(records().map((record) => record['portcullis.request.id']))
      return answered.every(({ id }) => known.has(id))
    })
    const all = records()
    const ids = all.map((record) => record['portcullis.request.id'])
    expect(ids.length).toBe(new Set(ids).size)
    expect(all.filter((record) => record['portcullis.content.request.dropped'] !== undefined)).toEqual([])
    const byId = new Map(all.map((record) => [record['portcullis.request.id'], record]))
    const wrong = answered.flatMap(({ id, word }) => {
      const record = byId.get(id)
      const content = record?.['portcullis.content.request']
      return content?.includes(`Say ${word} to the owner of [`) ? [] : [{ word, record }]
    })
    expect(wrong).toEqual([])
    const sources = [
      { name: 'records', text: readFileSync(file, 'utf8') },
      { name: 'log', text: await kong.log() },
    ]
    expect(leaksIn(canaries, sources)).toEqual([])
    console.log(`${workers} workers: ${answered.length} records, ${whole.length} of streams`)
  })
})
