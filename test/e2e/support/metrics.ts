/** Reads the plugin server's Prometheus metrics. */

import { METRICS_PORT } from './ports.ts'
import { until } from './wait.ts'

export type Labels = Readonly<Record<string, string>>

export interface Metrics {
  /** Sum of all samples of `name` with these labels. */
  sum(name: string, labels?: Labels): number
}

export async function metrics(): Promise<Metrics> {
  const reply = await fetch(`http://127.0.0.1:${METRICS_PORT}/metrics`)
  const samples = (await reply.text()).split('\n').flatMap((line) => {
    const [, name, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    return name === undefined ? [] : [{ name, labels, value: Number(value) }]
  })
  return {
    sum: (wanted, labels = {}) =>
      samples
        .filter(({ name }) => name === wanted)
        .filter((sample) => Object.entries(labels).every(([key, value]) => sample.labels.includes(`${key}="${value}"`)))
        .reduce((total, { value }) => total + value, 0),
  }
}

/** Runs `act`, then waits until so many more requests were settled, and returns what was added with these labels. */
export async function settledBy(act: () => Promise<unknown>, count = 1): Promise<Settled> {
  const before = await metrics()
  await act()
  const total = before.sum('portcullis_settlements_total') + count
  await until(`${count} settled`, async () => (await metrics()).sum('portcullis_settlements_total') >= total)
  const after = await metrics()
  return {
    settlements: (labels) => difference(before, after, 'portcullis_settlements_total', labels),
    tokens: (kind) => difference(before, after, 'portcullis_tokens_total', { kind }),
  }
}

export interface Settled {
  settlements(labels?: Labels): number
  tokens(kind: 'reserved' | 'settled' | 'refunded'): number
}

function difference(before: Metrics, after: Metrics, name: string, labels?: Labels): number {
  return after.sum(name, labels) - before.sum(name, labels)
}
