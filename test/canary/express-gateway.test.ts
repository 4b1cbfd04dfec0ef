/** Nothing that a request, a reply or a config holds may be seen in what the real Express Gateway process leaves behind. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { makeKey, sign } from '../support/jwks/issuer.ts'
import { type Canaries, type CanaryKind, createCanaries, leaksIn, type Searched } from './support/canaries.ts'
import { chat } from './support/chat.ts'
import { startCollector } from './support/collector.ts'
import { type Answer, exchange } from './support/exchange.ts'
import { gatewayConfig } from './support/gateway-config.ts'
import type { GatewaySpec } from './support/gateway-process.ts'
import { startUpstream } from './support/upstream.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const SOON = { timeout: 60_000, interval: 25 }

interface Run {
  readonly canaries: Canaries
  /** Everything that was left behind. */
  readonly sources: readonly Searched[]
  readonly statuses: readonly number[]
  readonly records: readonly Readonly<Record<string, unknown>>[]
}

interface RunOptions {
  readonly content: 'none' | 'hash' | 'redacted'
  readonly kind: CanaryKind
  readonly leaks?: boolean
}

interface Sent {
  readonly host?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Hangs up: in the middle of the request, or after the first piece of the reply. */
  readonly leave?: 'sending' | 'reading'
}

async function run({ content, kind, leaks = false }: RunOptions): Promise<Run> {
  const canaries = createCanaries(kind)
  const plant = (place: string) => canaries.plant(place)
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-canary-'))
  const collector = await startCollector()
  const upstream = await startUpstream(plant)
  const key = await makeKey('k1')
  const token = await sign(key, Math.floor(Date.now() / 1000), {
    claims: {
      sub: plant('claim sub'),
      email: plant('claim email'),
      jti: plant('claim jti'),
      team: plant('claim team'),
    },
  })
  const apiKey = `ada:${plant('api key')}`

  const spec: GatewaySpec = {
    exception: plant('exception'),
    leaks,
    addressFile: join(folder, '..', `${folder.split('/').at(-1)}.address`),
    consumers: [{ username: 'ada', key: apiKey }],
    config: gatewayConfig(plant, { content, folder, key, upstream: upstream.url, collector: collector.url }),
  }
  const specFile = `${spec.addressFile}.json`
  writeFileSync(specFile, JSON.stringify(spec))
  const child = spawn(process.execPath, ['--import', 'tsx', 'test/canary/support/gateway-process.ts', specFile], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].on('data', (piece) => {
      output[name] += piece
    })
  onTestFinished(async () => {
    const gone = child.exitCode === null ? once(child, 'exit') : undefined
    child.kill('SIGKILL')
    await gone
    upstream.close()
    collector.close()
    for (const path of [folder, spec.addressFile, specFile]) rmSync(path, { recursive: true, force: true })
  })
  await vi.waitFor(() => {
    expect(child.exitCode, output.stderr).toBeNull()
    expect(existsSync(spec.addressFile)).toBe(true)
  }, SOON)
  const { hostname, port } = new URL(readFileSync(spec.addressFile, 'utf8'))

  function send({
    host = 'keyed.test',
    path = '/v1/chat/completions',
    headers = {},
    body,
    leave,
  }: Sent = {}): Promise<Answer> {
    const sent = body ?? JSON.stringify(chat(plant))
    return exchange({
      hostname,
      port,
      path: `${path}?trace=${plant('query')}`,
      headers: { host, 'content-type': 'application/json', ...commonHeaders(plant), ...headers },
      body: sent,
      leave,
    })
  }

  const keyed = { authorization: `Bearer ${apiKey}` }
  const refusals: Searched[] = []
  const statuses: number[] = []
  for (const how of ['json', 'stream', 'error', 'garbage', 'close', 'break'])
    statuses.push((await send({ headers: { ...keyed, 'x-upstream': how } })).status)
  await send({ headers: { ...keyed, 'x-upstream': 'hang' }, leave: 'reading' })
  await send({ headers: keyed, leave: 'sending' })
  for (const [name, sent] of Object.entries<Sent>({
    'no key': { headers: { authorization: `Bearer nobody:${plant('wrong key')}` } },
    'two keys': { headers: { ...keyed, 'x-api-key': plant('second key') } },
    'malformed body': {
      headers: keyed,
      body: `{"model":"${plant('malformed model')}","messages":[{"content":"${plant('malformed prompt')}`,
    },
    'wrong type': {
      headers: keyed,
      body: JSON.stringify({ model: 'gpt-4o', max_tokens: plant('wrong type'), messages: [] }),
    },
    'too large': { headers: keyed, body: JSON.stringify({ ...chat(plant), pad: 'x'.repeat(3_000) }) },
    'larger than the audit log reads': {
      headers: keyed,
      body: JSON.stringify({ ...chat(plant), pad: 'x'.repeat(6_000) }),
    },
    'unknown path': { headers: keyed, path: `/v1/${plant('path')}` },
    'an exception': { headers: { ...keyed, 'x-fault': 'decide' } },
    'over the limit': { headers: keyed, body: JSON.stringify({ ...chat(plant), max_tokens: 50_000 }) },
    'no token': { host: 'tokens.test' },
    'a bad token': {
      host: 'tokens.test',
      headers: { authorization: `Bearer ${token.slice(0, -8)}${plant('signature').slice(0, 8)}` },
    },
    'no token for llm-gateway': { host: 'whole.test' },
    'a bad token for llm-gateway': {
      host: 'whole.test',
      headers: { authorization: `Bearer ${token.slice(0, -8)}${plant('signature').slice(0, 8)}` },
    },
    'too much for llm-gateway': {
      host: 'whole.test',
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify({ ...chat(plant), max_tokens: 50_000 }),
    },
    'malformed for llm-gateway': {
      host: 'whole.test',
      headers: { authorization: `Bearer ${token}` },
      body: `{"model":"${plant('malformed model')}`,
    },
    'out of scope': { host: 'tokens.test', path: '/v1/embeddings', headers: { authorization: `Bearer ${token}` } },
  })) {
    const { status, text } = await send(sent)
    statuses.push(status)
    refusals.push({ name: `the refusal of ${name} (${status})`, text })
    expect(status, name).toBeGreaterThanOrEqual(400)
  }
  statuses.push((await send({ headers: { ...keyed, 'x-fault': 'settle' } })).status)
  for (const host of ['tokens.test', 'whole.test'])
    for (const how of ['json', 'stream'])
      statuses.push((await send({ host, headers: { authorization: `Bearer ${token}`, 'x-upstream': how } })).status)

  // Locks, and seals on their way, come and go while the gateway lives.
  const files = () =>
    readdirSync(folder)
      .filter((name) => !/\.(?:lock|tmp)$/.test(name))
      .map((name) => ({ name: `the file ${name}`, text: readFileSync(join(folder, name), 'utf8') }))
  const records = () =>
    files()
      .filter(({ name }) => !name.endsWith('.chain'))
      .flatMap(({ text }) => text.split('\n').filter(Boolean))
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
  await vi.waitFor(() => expect(records().length).toBeGreaterThanOrEqual(29), SOON)
  // Tokens were verified, by the single policy and inside llm-gateway.
  await vi.waitFor(() => expect(records().filter((record) => record['user.hash'] !== undefined)).toHaveLength(6), SOON)
  await vi.waitFor(() => expect(collector.received().split('\n').length).toBeGreaterThanOrEqual(29), SOON)
  expect(child.exitCode).toBeNull()
  return {
    canaries,
    statuses,
    records: records(),
    sources: [
      { name: 'standard output', text: output.stdout },
      { name: 'standard error', text: output.stderr },
      { name: 'the collector', text: collector.received() },
      ...refusals,
      ...files(),
    ],
  }
}

function commonHeaders(plant: (place: string) => string): Readonly<Record<string, string>> {
  return {
    cookie: `session=${plant('cookie')}`,
    'user-agent': plant('user agent'),
    'x-custom': plant('custom header'),
    'openai-organization': plant('organization'),
    'x-forwarded-for': plant('forwarded for'),
  }
}

describe('what Express Gateway leaves behind', () => {
  it.each<RunOptions>([
    { content: 'none', kind: 'text' },
    { content: 'hash', kind: 'text' },
    { content: 'redacted', kind: 'secret' },
  ])(
    'holds nothing that was planted, with $content',
    async (options) => {
      const { canaries, sources, records, statuses } = await run(options)
      expect(leaksIn(canaries, sources)).toEqual([])
      // It did look: at many places, outcomes and records, and redaction had something to do.
      expect(new Set(canaries.planted.values()).size).toBeGreaterThanOrEqual(48)
      expect(new Set(statuses).size, statuses.join()).toBeGreaterThan(6)
      expect(new Set(records.map((record) => record['portcullis.ended'])).size).toBeGreaterThanOrEqual(4)
      expect(new Set(records.map((record) => record['portcullis.code'])).size).toBeGreaterThanOrEqual(8)
      const text = sources.map((source) => source.text).join('\n')
      for (const seen of ['telemetry fault', 'telemetry decision', 'audit sink fails', 'policy fault'])
        expect(text).toContain(seen)
      if (options.content === 'redacted') expect(text.match(/\[[A-Z_]+:[0-9a-f]{4}\]/g)?.length).toBeGreaterThan(50)
      if (options.content === 'hash') expect(text).toContain('portcullis.content.response.hash')
    },
    180_000,
  )

  it('is caught when something leaks: a policy that logs, and content that no pattern knows', async () => {
    const { canaries, sources } = await run({ content: 'redacted', kind: 'text', leaks: true })
    const leaks = leaksIn(canaries, sources)
    expect(leaks).toEqual(
      expect.arrayContaining([
        'prompt in standard error',
        'tool arguments in standard error',
        'prompt in the file audit.ndjson',
      ]),
    )
    expect(leaks).toContain('prompt in the collector')
  }, 180_000)
})
