/** The board, filled by a real Kong: what operators see is what callers did. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { boardQueries } from '../support/board.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { havePrometheus, type Prometheus, type Sample, startPrometheus } from '../support/prometheus.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'
import { type Ask, ask, chat, codeOf } from './support/ask.ts'
import { KEYS, serviceOf } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig } from './support/kong.ts'
import { metrics } from './support/metrics.ts'
import { METRICS_PORT } from './support/ports.ts'
import { until } from './support/wait.ts'

const SUITE = 'the board on a real Kong'
/** Those that nothing here makes happen: nobody hurts Redis, and Kong sends nothing that it should not. */
const QUIET = ['Events cut short, connections broken off', 'Faults', 'annotation']

function configOf(upstream: string, redis: RedisServer): KongConfig {
  const gateway = {
    redis: { host: redis.host, port: redis.port, command_timeout_ms: 500 },
    audit: { sinks: [{ type: 'stdout', flush_ms: 20 }] },
    api_key: { rotation: { age_from: 'created_at' } },
    scope: { static: { alice: ['llm:chat'], bob: ['llm:chat'] } },
    token_limit: {
      nodes: 1,
      limits: [
        { name: 'hourly', match: { consumers: ['bob'] }, limit: 50, window_seconds: 3_600 },
        { name: 'hourly', limit: 100_000, window_seconds: 3_600 },
        { name: 'planned', limit: 10, window_seconds: 3_600, mode: 'shadow' },
      ],
    },
  }
  return {
    _format_version: '3.0',
    services: [serviceOf(upstream, { all: [] })],
    consumers: [
      { username: 'alice', keyauth_credentials: [{ key: KEYS.alice }] },
      { username: 'bob', keyauth_credentials: [{ key: KEYS.bob }] },
    ],
    plugins: [
      { name: 'llm-key' },
      { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
      { name: 'llm-edge' },
      { name: 'llm-gateway', config: gateway },
      { name: 'llm-guard', config: { require: ['llm-gateway'] } },
    ],
  }
}

describe.skipIf(kongMissing || !haveRedisServer(SUITE) || !havePrometheus(SUITE))(SUITE, () => {
  let model: Model
  let redis: RedisServer
  let kong: Kong
  let prometheus: Prometheus

  beforeAll(async () => {
    model = await startModel()
    redis = await startRedis()
    kong = await startKong({ config: configOf(model.url, redis), workers: 2 })
    prometheus = await startPrometheus(`127.0.0.1:${METRICS_PORT}`)
  })
  afterAll(async () => {
    await prometheus?.close()
    await kong?.stop()
    await redis?.close()
    await model?.close()
  })

  const send = (more: Partial<Ask> = {}) => ask(kong, { route: 'all', body: chat(), ...more })

  async function found(expression: string): Promise<readonly Sample[]> {
    const filled = expression
      .replaceAll('$__rate_interval', '30s')
      .replaceAll('$__range', '1m')
      .replaceAll(/\$(instance|caller)/g, '.*')
    return (await prometheus.query(filled)).filter(({ value }) => !Number.isNaN(value))
  }

  const figure = async (expression: string) => (await found(expression))[0]?.value ?? 0

  test('shows callers against their limits, in the figures that they were told', async () => {
    for (let sent = 0; sent < 8; sent += 1) expect((await send()).status).toBe(200)
    const refused = await send({ key: KEYS.bob })
    expect([refused.status, codeOf(refused)]).toEqual([429, 'request_exceeds_limit'])
    await until('all of them settled', async () => (await metrics()).sum('portcullis_settlements_total') >= 8)
    const told = (await send()).headers
    const used = 100_000 - Number(told.get('x-ratelimit-remaining-tokens'))
    await until(
      'what alice used is on the board',
      async () => (await figure('portcullis_limit_used{caller="alice", rule="hourly"}')) === used,
    )
    expect(await figure('portcullis_limit{caller="alice", rule="hourly"}')).toBe(100_000)
    expect(await figure('portcullis_limit{caller="bob", rule="hourly"}')).toBe(50)
    const refusals = await found('portcullis_refusals_total{mode="enforce"}')
    expect(refusals.map(({ labels }) => [labels.policy, labels.code, labels.rule])).toEqual([
      ['llm-token-limit', 'request_exceeds_limit', 'hourly'],
    ])
    const text = await (await fetch(`http://127.0.0.1:${METRICS_PORT}/metrics`)).text()
    for (const key of Object.values(KEYS)) expect(text).not.toContain(key)
  })

  test('has something to show in every panel', async () => {
    const missing = async () => {
      const queries = boardQueries.filter(({ panel }) => !QUIET.includes(panel))
      const answers = await Promise.all(
        queries.map(async (query) => ({ query, samples: await found(query.expression) })),
      )
      return answers.filter(({ samples }) => samples.length === 0).map(({ query }) => query.expression)
    }
    let left: readonly string[] = []
    await until('every panel shows something', async () => {
      await send()
      await send({ key: KEYS.bob })
      left = await missing()
      return left.every((expression) => /_failures_total|_changes_total/.test(expression))
    }).catch((error: unknown) => {
      throw new Error(`nothing for ${left.join('\n')}`, { cause: error })
    })
  })
})
