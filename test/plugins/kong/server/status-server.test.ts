import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { main } from '../../../../plugins/kong/cli.ts'
import { createMetrics } from '../../../../plugins/kong/server/metrics.ts'
import type { ServerState } from '../../../../plugins/kong/server/serve.ts'
import { startStatusServer } from '../../../../plugins/kong/server/status-server.ts'
import { publish } from '../../../../policies/telemetry.ts'
import { collectLog } from '../../../support/redis/store.ts'
import { until } from './harness.ts'

const STATE: ServerState = { openEvents: 1, connections: 2, instances: 3, openWork: 4, stopping: false }

async function start(host: string, state: () => ServerState | undefined = () => STATE) {
  const { logger, lines } = collectLog()
  const metrics = createMetrics(state)
  const server = startStatusServer({ host, port: 0 }, { state, metrics }, logger)
  onTestFinished(() => {
    server.close()
    metrics.close()
  })
  return { server, metrics, lines }
}

async function refusesAt(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port })
  try {
    await once(socket, 'connect')
    return false
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') throw error
    return true
  } finally {
    socket.destroy()
  }
}

describe('the status server', () => {
  it('is at the address that it was given, and at no other', async () => {
    const { server } = await start('127.0.0.1')
    await until(() => server.port !== undefined)
    const port = server.port ?? 0
    expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(200)
    // Linux has the whole of 127.0.0.0/8 on the loopback; elsewhere nobody is there either.
    if (process.platform === 'linux') expect(await refusesAt('127.0.0.2', port)).toBe(true)
  })

  it('can be at a name', async () => {
    const { server } = await start('localhost')
    await until(() => server.port !== undefined)
    expect(await (await fetch(`http://localhost:${server.port}/healthz`)).json()).toMatchObject({ status: 'ok' })
  })

  it('goes on trying where the name means nothing yet, and says so once', async () => {
    const { server, lines } = await start('kong-metrics.invalid')
    await until(() => lines.length > 0)
    expect(lines).toMatchObject([
      { level: 'warn', message: 'metrics address not available; trying on', fields: { host: 'kong-metrics.invalid' } },
    ])
    expect(server.port).toBeUndefined()
  })

  it('takes no other method, and says when the process is ending', async () => {
    const { server } = await start('127.0.0.1', () => ({ ...STATE, stopping: true }))
    await until(() => server.port !== undefined)
    const at = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${server.port}${path}`, { method })
    expect((await at('/healthz')).status).toBe(503)
    expect((await at('/metrics', 'POST')).status).toBe(405)
    expect((await at('/metrics/')).status).toBe(404)
  })
})

describe('metrics of a plugin server', () => {
  it('tell how long events took, how large batches were, and how much is open', async () => {
    const { metrics } = await start('127.0.0.1')
    metrics.observer.eventEnded?.('llm-gateway', 'access', 'returned', 3, 4)
    metrics.observer.eventEnded?.('llm-gateway', 'access', 'exited', 2, 40)
    publish('batch', () => ({ records: 5 }))
    const text = await metrics.render()
    for (const line of [
      'portcullis_kong_event_seconds_sum{plugin="llm-gateway",phase="access"} 0.044',
      'portcullis_kong_event_seconds_bucket{le="0.005",plugin="llm-gateway",phase="access"} 1',
      'portcullis_kong_settle_batch_records_bucket{le="4"} 0',
      'portcullis_kong_settle_batch_records_bucket{le="8"} 1',
      'portcullis_kong_open_work 4',
      'portcullis_build_info{version="',
    ])
      expect(text).toContain(line)
  })
})

describe('portcullis-kong serve', () => {
  it.each([
    ['--metrics-host', '0.0.0.0'],
    ['--metrics-callers', '5'],
    ['--metrics-port', '9464', '--metrics-host', ''],
    ['--metrics-port', '9464', '--metrics-host', 'a b'],
    ['--metrics-port', '9464', '--metrics-callers', '10001'],
    ['--metrics-port', '9464', '--metrics-callers', 'all'],
  ])('refuses %s %s %s %s', async (...args) => {
    const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    onTestFinished(() => write.mockRestore())
    expect(await main(['serve', '--socket', '/nowhere/s', ...args.filter((each) => each !== undefined)])).toBe(2)
    expect(write.mock.calls.join('')).toMatch(/metrics/)
  })
})
