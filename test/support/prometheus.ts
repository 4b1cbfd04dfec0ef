/** A real Prometheus and its promtool, from the PATH. A test that finds none says so loudly. */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parse, stringify } from 'yaml'
import { FOLDER } from './board.ts'
import { freePort } from './redis/server.ts'
import { ROOT, readText } from './sources.ts'

/** With it a skipped test is a failure. */
const REQUIRED = process.env.REQUIRE_PROMETHEUS === '1'

/** True when there are both; says loudly when not. @throws with REQUIRE_PROMETHEUS=1 */
export function havePrometheus(suite: string): boolean {
  const missing = ['prometheus', 'promtool'].filter((name) => spawnSync(name, ['--version']).status !== 0)
  if (missing.length === 0) return true
  const message = `${suite}: no ${missing.join(' and no ')} in the PATH (Debian: apt-get install prometheus)`
  if (REQUIRED) throw new Error(`${message}, and REQUIRE_PROMETHEUS=1`)
  console.warn(`\n*** SKIPPED: ${message} ***\n`)
  return false
}

/** Runs promtool in the folder of the board. */
export function promtool(...args: readonly string[]): { readonly status: number | null; readonly output: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: join(ROOT, FOLDER), encoding: 'utf8' })
  return { status, output: `${stdout}${stderr}` }
}

export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Prometheus {
  /** @throws with Prometheus's own words when it does not understand the expression */
  query(expression: string): Promise<readonly Sample[]>
  /** `/api/v1/...` */
  api(path: string): Promise<unknown>
  close(): Promise<void>
}

/** Scrapes one target every quarter of a second, by the config and with the alerts that operators get. */
export async function startPrometheus(target: string): Promise<Prometheus> {
  const directory = mkdtempSync(join(tmpdir(), 'prometheus-'))
  const port = await freePort()
  const config = parse(readText(`${FOLDER}/prometheus.yml`)) as Record<string, unknown>
  const [scrape] = config.scrape_configs as readonly Record<string, unknown>[]
  const own = {
    ...config,
    global: { scrape_interval: '250ms', evaluation_interval: '1s' },
    rule_files: [join(ROOT, FOLDER, 'alerts.yml')],
    scrape_configs: [{ ...scrape, scrape_timeout: '250ms', static_configs: [{ targets: [target] }] }],
  }
  writeFileSync(join(directory, 'prometheus.yml'), stringify(own))
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(directory, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let log = ''
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  const gone = once(child, 'exit')
  while (!(await isReady(port))) {
    if (child.exitCode !== null) throw new Error(`Prometheus ended with ${child.exitCode}: ${log}`)
    await sleep(100)
  }

  async function api(path: string): Promise<unknown> {
    const reply = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)
    const { status, data, error } = (await reply.json()) as { status: string; data: unknown; error?: string }
    if (status !== 'success') throw new Error(`Prometheus says: ${error}`)
    return data
  }

  return {
    api,
    async query(expression) {
      const data = await api(`query?query=${encodeURIComponent(expression)}`)
      const { result } = data as { result: { metric: Record<string, string>; value: [number, string] }[] }
      return result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }))
    },
    async close() {
      child.kill('SIGTERM')
      await gone
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function isReady(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/-/ready`)).status === 200
  } catch {
    // Nobody listens yet.
    return false
  }
}
