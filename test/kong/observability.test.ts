/** The board and the alerts ask only for what is measured, and the compose file shows metrics to Prometheus alone. */

import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { alerts, board, boardQueries, FOLDER } from '../support/board.ts'
import { askedBy, measuredMetrics, seriesOf } from '../support/metrics.ts'
import { readText } from '../support/sources.ts'

const metrics = measuredMetrics()
const placeholders = (text: string) =>
  [...text.matchAll(/\{\{\s*\$?(?:labels\.)?(\w+)/g)].map(([, label = '']) => label)

/** Labels that series of this expression may have, all metrics in it together. @throws for a name nobody measures */
function labelsOf(expression: string): readonly string[] {
  return askedBy(expression).names.flatMap((name) => {
    const series = seriesOf(name, metrics)
    if (series === undefined) throw new Error(`nobody measures ${name}`)
    return series.labels
  })
}

/** What is wrong with an expression and the text that its result is shown with. */
function problems(expression: string, shown: string): readonly string[] {
  const asked = askedBy(expression)
  const unknown = asked.names.filter((name) => seriesOf(name, metrics) === undefined)
  if (asked.names.length === 0) return ['asks for nothing']
  if (unknown.length > 0) return unknown
  const known = labelsOf(expression)
  const lost = placeholders(shown).filter((label) => asked.grouped !== undefined && !asked.grouped.includes(label))
  return [...[...asked.labels, ...placeholders(shown)].filter((label) => !known.includes(label)), ...lost]
}

describe('the guard', () => {
  it.each([
    ['sum by (code) (rate(portcullis_refusals_total{mode="enforce"}[5m]))', '{{code}}', []],
    ['portcullis_refusal_total', '', ['portcullis_refusal_total']],
    ['portcullis_decision_seconds', '', ['portcullis_decision_seconds']],
    ['portcullis_refusals_total_bucket', '', ['portcullis_refusals_total_bucket']],
    ['portcullis_refusals_total{model="x"}', '', ['model']],
    ['sum by (le) (portcullis_refusals_total)', '', ['le']],
    ['sum by (le, policy) (rate(portcullis_decision_seconds_bucket[5m]))', '{{policy}}', []],
    ['portcullis_store_up', '{{nodes}}', ['nodes']],
    ['sum by (code) (portcullis_refusals_total)', '{{policy}}', ['policy']],
    ['sum(portcullis_refusals_total)', '{{code}}', ['code']],
    ['vector(1)', '', ['asks for nothing']],
  ])('finds what is wrong with %s', (expression, shown, found) => expect(problems(expression, shown)).toEqual(found))
})

describe('the board', () => {
  it.each(boardQueries)('$panel: $expression', ({ expression, legend }) => {
    expect(problems(expression, legend)).toEqual([])
  })

  it('shows what it is for', () => {
    const titles = board.panels.map(({ title }) => title)
    for (const title of [
      'Tokens by caller',
      'Used of the limit',
      'Refusals by reason',
      'Input: used / estimated',
      'Added to a request',
      'State',
      'Days until keys are due',
      'Audit queue',
    ])
      expect(titles).toContain(title)
  })

  it('leaves out no metric of the pack', () => {
    const shown = new Set(boardQueries.flatMap(({ expression }) => askedBy(expression).names))
    const isShown = (name: string) => ['', '_bucket', '_sum', '_count'].some((part) => shown.has(`${name}${part}`))
    expect([...metrics.keys()].filter((name) => name.startsWith('portcullis_') && !isShown(name))).toEqual([])
  })

  it('has panels side by side, each with its own number, asking the chosen source for the chosen nodes', () => {
    expect(new Set(board.panels.map(({ id }) => id)).size).toBe(board.panels.length)
    const taken = new Set<string>()
    for (const { title, type, gridPos, datasource, targets = [] } of board.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(taken, title).not.toContain(`${x} ${y}`)
          taken.add(`${x} ${y}`)
        }
      if (type === 'row') continue
      expect(datasource, title).toEqual({ type: 'prometheus', uid: '$datasource' })
      expect(targets.map(({ refId }) => refId)).toEqual(['A', 'B', 'C', 'D'].slice(0, targets.length))
      for (const { expr } of targets)
        for (const name of askedBy(expr).names)
          expect(expr, title).toMatch(new RegExp(`\\b${name}\\{[^}]*instance=~"\\$instance"`))
    }
  })

  it('chooses from labels that there are', () => {
    const queries = board.templating.list.flatMap(({ query }) =>
      typeof query === 'object' && query !== null && 'query' in query ? [String(query.query)] : [],
    )
    expect(queries).toHaveLength(2)
    for (const query of queries) {
      const [, name = '', label = ''] = /^label_values\((\w+), (\w+)\)$/.exec(query) ?? []
      expect(seriesOf(name, metrics)?.labels).toContain(label)
    }
  })
})

describe('the alerts', () => {
  it.each(alerts)('$alert', ({ expr, labels, annotations }) => {
    const shown = Object.values(annotations)
      .join(' ')
      .replaceAll(/\{\{ \$value[^}]*\}\}/g, '')
    expect(problems(expr, shown)).toEqual([])
    expect(['page', 'ticket']).toContain(labels.severity)
    expect(Object.keys(annotations).toSorted()).toEqual(['description', 'summary'])
  })

  it('are each seen firing by a test', () => {
    const { tests } = parse(readText(`${FOLDER}/alerts.test.yml`)) as {
      readonly tests: readonly {
        readonly alert_rule_test?: readonly { readonly alertname: string; readonly exp_alerts: readonly unknown[] }[]
      }[]
    }
    const seen = tests.flatMap(({ alert_rule_test: steps = [] }) =>
      steps.filter(({ exp_alerts: expected }) => expected.length > 0).map(({ alertname }) => alertname),
    )
    expect(alerts.map(({ alert }) => alert).filter((name) => !seen.includes(name))).toEqual([])
    expect(new Set(alerts.map(({ alert }) => alert)).size).toBe(alerts.length)
  })
})

interface Service {
  readonly profiles?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly networks?: readonly string[] | Readonly<Record<string, { readonly aliases?: readonly string[] }>>
  readonly ports?: readonly string[]
  readonly volumes?: readonly string[]
}

describe('docker-compose.yml', () => {
  const { services, networks } = parse(readText('docker-compose.yml')) as {
    readonly services: Readonly<Record<string, Service>>
    readonly networks: Readonly<Record<string, { readonly internal?: boolean }>>
  }
  const start = 'KONG_PLUGINSERVER_LLM_TOKEN_LIMIT_START_CMD'
  const command = services.kong?.environment?.[start] ?? ''
  const [, port = '', host = ''] = / --metrics-port (\d+) --metrics-host (\S+)$/.exec(command) ?? []
  const namesOf = ({ networks: own = ['default'] }: Service) => (Array.isArray(own) ? own : Object.keys(own))

  it('starts the plugin server as kong.env does, but for the metrics', () => {
    const [, plain = ''] = new RegExp(`^${start}=(.*)$`, 'm').exec(readText('kong/kong.env')) ?? []
    expect(command).toBe(`${plain} --metrics-port ${port} --metrics-host ${host}`)
  })

  it('shows metrics in a network that only Kong and Prometheus share, and publishes them nowhere', () => {
    const kong = services.kong?.networks as Readonly<Record<string, { readonly aliases?: readonly string[] }>>
    expect(kong.metrics?.aliases).toEqual([host])
    expect(kong.default?.aliases ?? []).not.toContain(host)
    expect(networks.metrics).toEqual({ internal: true })
    const inside = Object.keys(services).filter((name) => namesOf(services[name] ?? {}).includes('metrics'))
    expect(inside.toSorted()).toEqual(['kong', 'prometheus'])
    for (const [name, { ports = [] }] of Object.entries(services))
      for (const published of ports) {
        expect(published, name).toMatch(/^127\.0\.0\.1:/)
        expect(published, name).not.toMatch(new RegExp(`:${port}$`))
      }
  })

  it('scrapes that address', () => {
    const { scrape_configs: scraped } = parse(readText(`${FOLDER}/prometheus.yml`)) as {
      readonly scrape_configs: readonly { readonly job_name: string; readonly static_configs: readonly unknown[] }[]
    }
    expect(scraped).toEqual([{ job_name: 'portcullis', static_configs: [{ targets: [`${host}:${port}`] }] }])
  })

  it('starts Prometheus and Grafana only when asked to, and lets nobody log in', () => {
    const profiled = Object.entries(services).filter(([, { profiles }]) => profiles !== undefined)
    expect(profiled.map(([name, { profiles }]) => [name, profiles])).toEqual([
      ['prometheus', ['observability']],
      ['grafana', ['observability']],
    ])
    expect(services.grafana?.environment).toMatchObject({
      GF_AUTH_ANONYMOUS_ORG_ROLE: 'Viewer',
      GF_AUTH_BASIC_ENABLED: 'false',
      GF_AUTH_DISABLE_LOGIN_FORM: 'true',
      GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: 'true',
    })
  })

  it('gives Grafana the board and its source where provisioning looks for them', () => {
    const mounts = new Map(
      (services.grafana?.volumes ?? []).map((volume) => [volume.split(':')[1], volume.split(':')[0]]),
    )
    const provisioning = mounts.get('/etc/grafana/provisioning')?.slice(2) ?? ''
    const read = (path: string) => parse(readText(`${provisioning}/${path}`)) as Record<string, unknown>
    const { providers } = read('dashboards/portcullis.yml') as { providers: { options: { path: string } }[] }
    const folder = providers[0]?.options.path ?? ''
    expect(mounts.get(folder)).toBe(`./${FOLDER}/grafana/dashboards`)
    expect(services.grafana?.environment?.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH).toBe(`${folder}/portcullis.json`)
    const { datasources } = read('datasources/prometheus.yml') as { datasources: { type: string; url: string }[] }
    expect(datasources).toMatchObject([{ type: 'prometheus', url: 'http://prometheus:9090', uid: 'prometheus' }])
  })
})
