/** Nothing that a request, a reply or a config holds may be seen in what the real plugin server process leaves behind. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { bundle } from '../../plugins/kong/bundle.ts'
import { FACTS_KEY } from '../../plugins/kong/shared-context.ts'
import { makeKey, sign } from '../support/jwks/issuer.ts'
import { createWorker, type PluginConfig } from '../support/kong-client/worker.ts'
import { freePort } from '../support/redis/server.ts'
import { type CanaryKind, createCanaries, leaksIn, type Searched } from './support/canaries.ts'
import { chat } from './support/chat.ts'
import { startCollector } from './support/collector.ts'
import { factsOf, gather, requestOf, serializedOf } from './support/kong-request.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const SOON = { timeout: 60_000, interval: 25 }
const built = mkdtempSync(join(tmpdir(), 'portcullis-canary-built-'))
beforeAll(async () => {
  await bundle(built)
}, 60_000)
afterAll(() => rmSync(built, { recursive: true }))

interface RunOptions {
  readonly content: 'none' | 'hash' | 'redacted'
  readonly kind: CanaryKind
  readonly leaks?: boolean
}

function plugin(name: string, id: string, config: object): PluginConfig {
  const whole = { __plugin_id: id, __seq__: 1, __key__: `plugins:${name}:${id}::::ws`, ...config }
  return { plugin: name, id, seq: 1, config: JSON.stringify(whole) }
}

interface Asked {
  readonly body?: string | Uint8Array
  readonly path?: string
  /** How the upstream or Kong ended it. */
  readonly report?: object
  readonly facts?: unknown
  readonly serialized?: string
  readonly plugins?: readonly PluginConfig[]
  /** In `authorization`. */
  readonly token?: string
}

async function run({ content, kind, leaks = false }: RunOptions) {
  const canaries = createCanaries(kind)
  const plant = (place: string) => canaries.plant(place)
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-canary-'))
  const collector = await startCollector()
  const socket = join(folder, 's')
  const metricsPort = await freePort()
  const child = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      '--import',
      './test/canary/support/plugin-server-preload.ts',
      join(built, 'portcullis-kong.cjs'),
      'serve',
      '--socket',
      socket,
      '--metrics-port',
      String(metricsPort),
    ],
    {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, CANARY_EXCEPTION: plant('exception'), CANARY_LEAK: leaks ? '1' : '0' },
    },
  )
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].on('data', (piece) => {
      output[name] += piece
    })
  const worker = createWorker({ socket })
  onTestFinished(async () => {
    worker.close()
    const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
    child.kill('SIGKILL')
    await gone
    collector.close()
    rmSync(folder, { recursive: true, force: true })
  })
  await vi.waitFor(() => expect(output.stderr).toContain('server started at'), SOON)

  const key = await makeKey('k1')
  const token = await sign(key, Math.floor(Date.now() / 1000), {
    claims: {
      sub: plant('claim sub'),
      email: plant('claim email'),
      jti: plant('claim jti'),
      team: plant('claim team'),
    },
  })
  const audit = {
    content,
    max_body_bytes: 4_096,
    hash_key: plant('hash key'),
    redaction: { tag_key: plant('tag key'), custom: [{ type: 'TICKET', pattern: 'TICKET-\\d+' }] },
    chain: { key: plant('chain key') },
    sinks: [
      { type: 'file', path: join(folder, 'audit.ndjson'), flush_ms: 0, max_bytes: 8_192 },
      {
        type: 'http',
        url: `${collector.url}/${plant('collector url')}`,
        headers: { authorization: plant('collector header') },
        format: 'otlp',
        flush_ms: 0,
      },
      { type: 'http', url: `http://127.0.0.1:1/${plant('dead collector url')}`, flush_ms: 0 },
      { type: 'stdout', flush_ms: 0 },
    ],
  }
  const limits = {
    store: 'redis',
    redis: { url: `redis://user:${plant('redis password')}@127.0.0.1:1` },
    nodes: 1,
    max_body_bytes: 2_048,
    limits: [{ name: 'tokens', limit: 20_000, window_seconds: 3_600 }],
  }
  const byToken = {
    sources: ['jwt'],
    jwt: {
      issuers: [{ issuer: 'https://idp.test', jwks: JSON.stringify({ keys: [key.jwk] }), audiences: ['llm-gateway'] }],
    },
  }
  const auditLog = plugin('llm-audit-log', 'a', audit)
  const limit = plugin('llm-token-limit', 'l', limits)
  const tokens = [auditLog, plugin('llm-scope', 't', byToken), limit]
  const gateway = [
    plugin('llm-gateway', 'g', {
      audit,
      api_key: { rotation: { on_unknown_age: 'allow' } },
      scope: byToken,
      token_limit: limits,
    }),
  ]
  const scope = plugin('llm-scope', 's', { sources: ['static'], static: { 'c-1': ['llm:chat'] }, aliases: {} })
  const badConfig = plugin('llm-audit-log', 'bad', {
    hash_key: 7,
    bad: plant('bad value'),
    redaction: { custom: [{ type: 'X', pattern: `(${plant('bad pattern')}` }] },
  })
  const all = [auditLog, scope, limit]

  const replies: Searched[] = []

  /** As Kong does with all companions: every access, and every log with what llm-edge gathers. */
  async function ask(name: string, asked: Asked = {}): Promise<void> {
    const bytes = Buffer.from(asked.body ?? JSON.stringify(chat(plant)))
    const path = asked.path ?? '/v1/chat/completions'
    const request = requestOf(plant, path, bytes, asked.token)
    const facts = 'facts' in asked ? asked.facts : factsOf(path, bytes)
    if (facts !== undefined) request.shared.set(FACTS_KEY, facts)
    request.serialized = asked.serialized ?? serializedOf(plant)
    const plugins = asked.plugins ?? all
    for (const one of plugins) if ((await worker.access(request, one)) !== 'done') break
    if (request.reply !== undefined) replies.push({ name: `the reply to ${name}`, text: JSON.stringify(request.reply) })
    if (facts !== undefined) gather(request, asked.report)
    for (const one of plugins) await worker.log(request, one)
  }

  const events = [
    `{"choices":[{"delta":{"content":"${plant('stream event')}"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`,
  ]
  await ask('a pass', { report: { tap: { usage_json: '{"prompt_tokens":9,"completion_tokens":4}', ended: 'final' } } })
  await ask('a stream', { report: { tap: { events, ended: 'final' } } })
  await ask('a hostile reply', {
    report: {
      tap: { events: [`{${plant('broken event')}`], usage_json: `{${plant('broken usage')}`, ended: plant('tap end') },
    },
  })
  await ask('an upstream error', { report: { status: 500, upstream_status: 500 } })
  await ask('a disconnect', { report: { status: 499, completed: false, broken_by: 'client' } })
  await ask('an upstream that is gone', { report: { status: 502, source: 'error', completed: false } })
  await ask('a malformed body', {
    body: `{"model":"${plant('malformed model')}","messages":"${plant('malformed prompt')}`,
  })
  await ask('bytes', { body: Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(plant('bytes'))]) })
  await ask('a large body', { body: JSON.stringify({ ...chat(plant), pad: 'x'.repeat(3_000) }) })
  await ask('a larger body', { body: JSON.stringify({ ...chat(plant), pad: 'x'.repeat(6_000) }) })
  await ask('an unknown path', { path: `/v1/${plant('path')}` })
  await ask('too much', { body: JSON.stringify({ ...chat(plant), max_tokens: 50_000 }) })
  await ask('a scope that is missing', {
    path: '/v1/embeddings',
    body: JSON.stringify({ model: 'text-embedding-3-small', input: plant('embedding input') }),
  })
  for (const explode of [1, 2, 3, 'readOverrides', 'redactBody'])
    await ask(`an exception in reading ${explode}`, { body: JSON.stringify({ ...chat(plant), explode }) })
  await ask('no llm-edge', { facts: undefined })
  await ask('broken facts', { facts: plant('facts') })
  await ask('facts of another version', { facts: { version: plant('facts version') } })
  await ask('broken log data', { serialized: `{"request": ${plant('log data')}` })
  await ask('a broken ending', { report: { source: plant('report source') } })
  for (const [name, plugins] of Object.entries({ 'a token': tokens, 'llm-gateway': gateway })) {
    await ask(`${name}: a pass`, { plugins, token, report: { tap: { events, ended: 'final' } } })
    await ask(`${name}: an upstream error`, { plugins, token, report: { status: 500, upstream_status: 500 } })
    await ask(`${name}: a bad signature`, { plugins, token: `${token.slice(0, -8)}${plant('signature').slice(0, 8)}` })
    await ask(`${name}: no token`, { plugins })
    await ask(`${name}: out of scope`, {
      plugins,
      token,
      path: '/v1/embeddings',
      body: JSON.stringify({ model: plant('embedding model'), input: plant('embedding input') }),
    })
    await ask(`${name}: too much`, { plugins, token, body: JSON.stringify({ ...chat(plant), max_tokens: 50_000 }) })
    await ask(`${name}: a malformed body`, { plugins, token, body: `{"model":"${plant('malformed model')}` })
    await ask(`${name}: an exception`, { plugins, token, body: JSON.stringify({ ...chat(plant), explode: 1 }) })
    await ask(`${name}: broken facts`, { plugins, token, facts: plant('facts') })
  }
  await ask('a bad config', { plugins: [badConfig] })
  expect(child.exitCode).toBeNull()
  const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
  await vi.waitFor(() => expect(recordsIn(folder).length).toBeGreaterThanOrEqual(37), SOON)
  await vi.waitFor(() => expect(collector.received().split('portcullis.decision').length).toBeGreaterThan(37), SOON)
  child.kill('SIGUSR2')
  await once(child, 'exit')

  const sources: Searched[] = [
    { name: 'standard output', text: output.stdout },
    { name: 'standard error', text: output.stderr },
    { name: 'the metrics', text: metrics },
    { name: 'the collector', text: collector.received() },
    { name: 'what Kong would log', text: worker.errors.join('\n') },
    ...replies,
    ...readdirSync(folder)
      .filter((name) => name.startsWith('audit'))
      .map((name) => ({ name: `the file ${name}`, text: readFileSync(join(folder, name), 'utf8') })),
  ]
  return { canaries, sources, output, metrics, replies, records: recordsIn(folder) }
}

function recordsIn(folder: string): readonly Readonly<Record<string, unknown>>[] {
  return readdirSync(folder)
    .filter(
      (name) =>
        name.startsWith('audit') && !name.endsWith('.chain') && !name.endsWith('.lock') && !name.endsWith('.tmp'),
    )
    .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n').filter(Boolean))
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
}

describe('what the plugin server leaves behind', () => {
  it.each<RunOptions>([
    { content: 'none', kind: 'text' },
    { content: 'hash', kind: 'text' },
    { content: 'redacted', kind: 'secret' },
  ])(
    'holds nothing that was planted, with $content',
    async (options) => {
      const { canaries, sources, output, metrics, replies, records } = await run(options)
      expect(leaksIn(canaries, sources)).toEqual([])
      expect(new Set(canaries.planted.values()).size).toBeGreaterThanOrEqual(55)
      expect(replies.length).toBeGreaterThanOrEqual(20)
      expect(new Set(records.map((record) => record['portcullis.ended'])).size).toBeGreaterThanOrEqual(4)
      expect(new Set(records.map((record) => record['portcullis.code'])).size).toBeGreaterThanOrEqual(5)
      // Tokens were verified, by the single plugin and inside llm-gateway.
      expect(records.filter((record) => record['user.hash'] !== undefined)).toHaveLength(8)
      expect(metrics).toContain('portcullis_')
      for (const seen of [
        'telemetry decision',
        'telemetry fault',
        'unhandled rejection',
        'uncaught exception',
        'CONFIG REFUSED',
        'audit sink fails',
      ])
        expect(output.stderr).toContain(seen)
      // Exceptions inside policies, and facts that no plugin understands.
      const unavailable = records.filter((record) => record['portcullis.code'] === 'policy_unavailable')
      expect(unavailable.map((record) => record['portcullis.policy']).sort()).toEqual([
        ...Array(6).fill('llm-audit-log'),
        'llm-gateway',
        'llm-token-limit',
        'llm-token-limit',
      ])
      const dropped = records.some((record) => record['portcullis.content.request.dropped'] === 'redaction_failed')
      expect(dropped).toBe(options.content === 'redacted')
      if (options.content === 'redacted')
        expect(JSON.stringify(records).match(/\[[A-Z_]+:[0-9a-f]{4}\]/g)?.length).toBeGreaterThan(50)
    },
    180_000,
  )

  it('is caught when something leaks', async () => {
    const { canaries, sources } = await run({ content: 'redacted', kind: 'text', leaks: true })
    const leaks = leaksIn(canaries, sources)
    expect(leaks).toContain('exception in standard error')
    expect(leaks).toContain('prompt in the collector')
    expect(leaks).toContain('prompt in standard output')
  }, 180_000)
})
