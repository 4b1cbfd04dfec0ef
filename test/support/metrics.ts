/** What a plugin server measures, and what a PromQL expression asks for. */

import { createMetrics } from '../../plugins/kong/server/metrics.ts'

export interface MeasuredMetric {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary'
  readonly labels: readonly string[]
}

/** Every metric of a plugin server, by name. */
export function measuredMetrics(): ReadonlyMap<string, MeasuredMetric> {
  const metrics = createMetrics(() => undefined)
  try {
    return new Map(metrics.registry.getMetricsAsArray().map((metric) => [metric.name, describe(metric)]))
  } finally {
    metrics.close()
  }
}

function describe(metric: { readonly name: string; readonly help: string }): MeasuredMetric {
  // prom-client has both at run time, and leaves them out of its types.
  const { type, labelNames } = metric as Partial<{ type: unknown; labelNames: unknown }>
  const typed = (['counter', 'gauge', 'histogram', 'summary'] as const).find((known) => known === type)
  if (typed === undefined || !Array.isArray(labelNames)) throw new Error(`${metric.name} does not say what it is`)
  return { name: metric.name, help: metric.help, type: typed, labels: labelNames.map(String) }
}

/** README's table of the pack's own metrics. */
export function metricsTable(): string {
  const own = [...measuredMetrics().values()].filter(({ name }) => name.startsWith('portcullis_'))
  const rows = own
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, type, labels, help }) => {
      const named = labels.length === 0 ? '' : labels.map((label) => `\`${label}\``).join(', ')
      return `| \`${name}\` | ${type} | ${named} | ${help} |`
    })
  return ['| Metric | Type | Labels | Meaning |', '|---|---|---|---|', ...rows].join('\n')
}

/** Of every target that Prometheus scrapes. */
const SCRAPED = ['job', 'instance']
const NAME = /\b(?:portcullis|nodejs|process)_\w+|\bup\b/g

export interface Asked {
  /** As they are written, with `_bucket`, `_sum` or `_count` of a histogram. */
  readonly names: readonly string[]
  /** In selectors and groupings. */
  readonly labels: readonly string[]
  /** Labels that the result can have; undefined when nothing is aggregated. */
  readonly grouped: readonly string[] | undefined
}

/** Reads as much of PromQL as the board and the alerts use. */
export function askedBy(expression: string): Asked {
  const bare = expression.replaceAll(/"[^"]*"/g, '""')
  const selectors = [...bare.matchAll(/\{([^}]*)\}/g)].flatMap(([, inner = '']) =>
    inner
      .split(',')
      .map((matcher) => /^\s*(\w+)\s*(?:=~|!~|!=|=)/.exec(matcher)?.[1])
      .filter((label) => label !== undefined),
  )
  const lists = (keyword: string) =>
    [...bare.matchAll(new RegExp(`\\b${keyword}\\s*\\(([^)]*)\\)`, 'g'))].flatMap(([, inner = '']) =>
      inner.split(',').flatMap((label) => (label.trim() === '' ? [] : [label.trim()])),
    )
  const grouped = lists('by')
  const aggregates = /\b(sum|min|max|count|avg)\b/.test(bare)
  return {
    names: [...bare.replaceAll(/\{[^}]*\}/g, '').matchAll(NAME)].map(([name]) => name),
    labels: [...selectors, ...grouped, ...lists('ignoring'), ...lists('on')],
    grouped: aggregates ? grouped : undefined,
  }
}

/** The metric that a series is of, and the labels that the series has; undefined when nobody measures it. */
export function seriesOf(
  name: string,
  metrics: ReadonlyMap<string, MeasuredMetric>,
): { readonly labels: readonly string[] } | undefined {
  if (name === 'up') return { labels: SCRAPED }
  const own = metrics.get(name)
  if (own !== undefined && own.type !== 'histogram') return { labels: [...own.labels, ...SCRAPED] }
  const [, base = '', part] = /^(\w+)_(bucket|sum|count)$/.exec(name) ?? []
  const histogram = metrics.get(base)
  if (histogram?.type !== 'histogram') return undefined
  return { labels: [...histogram.labels, ...SCRAPED, ...(part === 'bucket' ? ['le'] : [])] }
}
