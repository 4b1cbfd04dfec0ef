/** A real Prometheus takes the config and the alerts, and finds something for every panel of the board. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { alerts, boardQueries } from '../support/board.ts'
import { havePrometheus, type Prometheus, promtool, type Sample, startPrometheus } from '../support/prometheus.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { sleep } from '../support/redis/server.ts'
import { type GatewayTraffic, startGatewayTraffic } from './support/gateway-traffic.ts'

const expressions = new Set(boardQueries.map(({ expression }) => expression))
const SUITE = 'the board in Prometheus'

/** As Grafana fills them in. */
function filledIn(expression: string): string {
  return expression
    .replaceAll('$__rate_interval', '10s')
    .replaceAll('$__range', '1m')
    .replaceAll('$instance', '.*')
    .replaceAll('$caller', '.*')
}

describe.skipIf(!havePrometheus(SUITE))('promtool', () => {
  it.each([
    ['check', 'config', 'prometheus.yml'],
    ['check', 'rules', '--lint=all', '--lint-fatal', 'alerts.yml'],
    ['test', 'rules', 'alerts.test.yml'],
  ])('%s %s', (...args) => {
    const { status, output } = promtool(...args)
    expect(output).toContain('SUCCESS')
    expect(status, output).toBe(0)
  })
})

describe.skipIf(!havePrometheus(SUITE) || !haveRedisServer(SUITE))(SUITE, () => {
  let traffic: GatewayTraffic
  let prometheus: Prometheus
  let running: Promise<unknown>
  let over = false
  /** What was found for each expression of the board, once all was found or the time was up. */
  const found = new Map<string, readonly Sample[]>()

  beforeAll(async () => {
    traffic = await startGatewayTraffic()
    prometheus = await startPrometheus(traffic.target)
    await traffic.round()
    await traffic.outage()
    await traffic.violation()
    running = keepGoing().catch((error: unknown) => error)
    await findAll()
    over = true
    const failed = await running
    if (failed !== undefined) throw failed
  }, 90_000)
  afterAll(async () => {
    over = true
    await running
    await prometheus?.close()
    await traffic?.close()
  })

  async function keepGoing(): Promise<void> {
    while (!over) {
      await traffic.round()
      await sleep(100)
    }
  }

  /** Rates need samples from before and after: those come a quarter of a second apart. */
  async function findAll(): Promise<void> {
    for (let tries = 0; tries < 100 && found.size < expressions.size && !over; tries += 1) {
      for (const expression of expressions) {
        if (found.has(expression)) continue
        const samples = await prometheus.query(filledIn(expression))
        if (samples.some(({ value }) => !Number.isNaN(value))) found.set(expression, samples)
      }
      await sleep(200)
    }
  }

  it('takes metrics from the plugin server', async () => {
    expect(await prometheus.query('up')).toMatchObject([{ labels: { job: 'portcullis' }, value: 1 }])
    const { groups } = (await prometheus.api('rules')) as { groups: { rules: { name: string; health: string }[] }[] }
    const rules = groups.flatMap((group) => group.rules)
    expect(rules.map(({ name }) => name)).toEqual(alerts.map(({ alert }) => alert))
  })

  it.each(boardQueries)('$panel: $expression', ({ expression, legend }) => {
    const samples = found.get(expression) ?? []
    expect(samples).not.toEqual([])
    const shown = [...legend.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label)
    // A reason is only named where a limit had no room.
    for (const label of shown.filter((each) => each !== 'rule'))
      for (const { labels } of samples) expect(labels[label], label).toBeTruthy()
  })

  it.each(alerts)('can work $alert out', async ({ expr }) => {
    await expect(prometheus.query(expr)).resolves.toBeInstanceOf(Array)
  })

  it('tells callers apart up to the cap, and knows their limits and keys', async () => {
    const tokens = 'sum by (caller) (portcullis_caller_tokens_total{kind="settled"})'
    const callers = (await prometheus.query(tokens)).map(({ labels }) => labels.caller)
    expect(callers.toSorted()).toEqual(['(other)', 'alice', 'carol', 'dave'])
    const [limit] = await prometheus.query('portcullis_limit{caller="alice", rule="hourly"}')
    expect(limit?.value).toBe(1_000_000)
    const [used] = await prometheus.query('portcullis_limit_used{caller="alice", rule="hourly"}')
    expect(used?.value).toBeGreaterThan(0)
    expect(used?.value).toBeLessThan(1_000_000)
    const [days] = await prometheus.query('(portcullis_key_due_timestamp_seconds{caller="alice"} - time()) / 86400')
    expect(days?.value).toBeGreaterThan(9)
    expect(days?.value).toBeLessThan(11)
  })

  it('knows every reason, those that were held back too', async () => {
    const refusals = await prometheus.query('sum by (policy, code, mode, rule) (portcullis_refusals_total)')
    const reasons = refusals.map(({ labels: { policy, code, mode, rule = '' } }) => `${policy} ${code} ${mode} ${rule}`)
    for (const reason of [
      'llm-api-key key_expired enforce ',
      'llm-scope insufficient_scope enforce ',
      'llm-token-limit request_exceeds_limit enforce hourly',
      'llm-token-limit policy_unavailable enforce ',
    ])
      expect(reasons).toContain(reason)
    expect(reasons.some((reason) => /^llm-token-limit \w+ shadow planned$/.test(reason))).toBe(true)
  })

  it('saw Redis go away and come back', async () => {
    const [up] = await prometheus.query('portcullis_store_up{store="redis"}')
    expect(up?.value).toBe(1)
    const [down] = await prometheus.query('portcullis_store_changes_total{store="redis", state="down"}')
    expect(down?.value).toBeGreaterThanOrEqual(1)
  })
})
