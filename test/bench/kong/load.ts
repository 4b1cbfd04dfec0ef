/** Load on one URL: wrk where it is installed, autocannon otherwise. */

import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import autocannon from 'autocannon'

const run = promisify(execFile)

export interface LoadOptions {
  readonly url: string
  readonly key: string
  /** `{{words}}` in it are others in each request. */
  readonly body: string
  readonly connections: number
  readonly seconds: number
}

export interface Measured {
  readonly requestsPerSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
}

/** As in wrk.lua. */
const DIFFERENT = 8192
const WORDS = 'the quick brown fox jumps over a lazy dog while nobody asks why this summary is shorter'.split(' ')

function someWords(): string {
  return Array.from({ length: 330 }, () => WORDS[Math.floor(Math.random() * WORDS.length)]).join(' ')
}

export const generator = spawnSync('wrk', ['-v']).error === undefined ? 'wrk' : 'autocannon'

/** @throws when a single answer was not a 2xx: a refusal is cheaper than the work that is measured. */
export async function load(options: LoadOptions): Promise<Measured> {
  return generator === 'wrk' ? withWrk(options) : withAutocannon(options)
}

async function withWrk({ url, key, body, connections, seconds }: LoadOptions): Promise<Measured> {
  const script = new URL('wrk.lua', import.meta.url).pathname
  const { stdout } = await run('wrk', ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', script, url], {
    env: { ...process.env, BENCH_KEY: key, BENCH_BODY: body },
  })
  const summary = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, number>
  const { requests = 0, microseconds = 1, p50 = 0, p99 = 0, refused = 0, broken = 0 } = summary
  assertClean(url, requests, refused, broken)
  return { requestsPerSecond: (requests * 1e6) / microseconds, p50: p50 / 1000, p99: p99 / 1000 }
}

async function withAutocannon({ url, key, body, connections, seconds }: LoadOptions): Promise<Measured> {
  const result = await autocannon({
    url,
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    requests: Array.from({ length: DIFFERENT }, () => ({ body: body.replaceAll('{{words}}', someWords) })),
    connections,
    duration: seconds,
  })
  assertClean(url, result['2xx'], result.non2xx, result.errors)
  return { requestsPerSecond: result.requests.average, p50: result.latency.p50, p99: result.latency.p99 }
}

function assertClean(url: string, requests: number, refused: number, broken: number): void {
  if (requests === 0 || refused > 0 || broken > 0)
    throw new Error(`${url}: ${requests} answers, ${refused} not 2xx, ${broken} broken`)
}
