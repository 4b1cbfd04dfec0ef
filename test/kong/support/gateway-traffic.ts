/** A deployed plugin server with everything that it can measure going on, driven by the stand-in for Kong. */

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { bundle } from '../../../plugins/kong/bundle.ts'
import { entryKey, type Facts, type PluginEntry } from '../../../plugins/kong/shared-context.ts'
import { answered, llmRequest, type ServerProcess, startServer } from '../../plugins/kong/process-harness.ts'
import { rawConnection } from '../../plugins/kong/server/harness.ts'
import type { KongRequest } from '../../support/kong-client/request.ts'
import { settleMessage } from '../../support/kong-client/settle-message.ts'
import { createWorker, type PluginConfig } from '../../support/kong-client/worker.ts'
import { freePort, type RedisServer, startRedis } from '../../support/redis/server.ts'

const PLUGIN = 'llm-gateway'
const DAY_SECONDS = 86_400

export interface GatewayTraffic {
  /** Host and port of the metrics. */
  readonly target: string
  /** One request of every kind: let through, refused by each policy, held back, settled in every way. */
  round(): Promise<void>
  /** Redis does not answer for a while, and a request is cut off meanwhile. */
  outage(): Promise<void>
  /** Something that no Kong would send. */
  violation(): Promise<void>
  close(): Promise<void>
}

export async function startGatewayTraffic(): Promise<GatewayTraffic> {
  const directory = mkdtempSync(join(tmpdir(), 'kong-traffic-'))
  const socket = join(directory, 's')
  const port = await freePort()
  await bundle(join(directory, 'built'))
  const redis = await startRedis()
  const server = await startServer(join(directory, 'built/portcullis-kong.cjs'), socket, [
    '--metrics-port',
    String(port),
    '--metrics-callers',
    '3',
  ])
  const worker = createWorker({ socket })
  const plugin = gatewayPlugin(redis, join(directory, 'audit.ndjson'))

  /** Whether Redis is in use again. */
  async function letsThrough(): Promise<boolean> {
    const request = await ask(caller('alice'))
    await end(request, { prompt_tokens: 11, completion_tokens: 7 })
    return request.shared.has(entryKey(PLUGIN))
  }

  async function openEvents(): Promise<number> {
    const state = await (await fetch(`http://127.0.0.1:${port}/healthz`)).json()
    return (state as { readonly openEvents: number }).openEvents
  }

  async function ask(facts: Partial<Facts>): Promise<KongRequest> {
    const request = llmRequest(facts)
    await worker.access(request, plugin)
    return request
  }

  async function end(request: KongRequest, usage: Readonly<Record<string, number>> = {}): Promise<void> {
    if (request.shared.has(entryKey(PLUGIN))) answered(request, usage, PLUGIN)
    await worker.log(request, plugin)
  }

  async function settleTogether(requests: readonly KongRequest[]): Promise<void> {
    const records = requests.map((request) => {
      answered(request, { prompt_tokens: 12, completion_tokens: 9 }, PLUGIN)
      const { mark, protocol, reservations, report } = request.shared.get(entryKey(PLUGIN)) as PluginEntry
      return { plugin: mark.plugin, plugin_id: mark.plugin_id, protocol, reservations, report }
    })
    const connection = await rawConnection(socket)
    await connection.request(0, 'portcullis.Settle', settleMessage({ records }))
    connection.socket.destroy()
  }

  return {
    target: `127.0.0.1:${port}`,
    async round() {
      for (const name of ['alice', 'carol', 'dave', 'erin'])
        await end(await ask(caller(name)), { prompt_tokens: 11, completion_tokens: 7 })
      await end(await ask(caller('alice')))
      await end(await ask(caller('bob')))
      await end(await ask(caller('old', 400)))
      await end(await ask(caller('alice', 80, { path: '/v1/files', method: 'POST' })))
      await settleTogether([await ask(caller('alice')), await ask(caller('carol'))])
    },
    async outage() {
      await redis.freeze()
      const hasty = createWorker({ socket })
      const cut = hasty.access(llmRequest(caller('alice')), plugin)
      while ((await openEvents()) === 0) await sleep(10)
      hasty.close()
      await cut
      // They wait for their commands to time out, which opens the breaker.
      const waiting = Array.from({ length: 7 }, async () => end(await ask(caller('alice'))))
      await Promise.all(waiting)
      await redis.thaw()
      while (!(await letsThrough())) await sleep(100)
    },
    async violation() {
      const connection = await rawConnection(socket)
      connection.send(Buffer.from([0xc1, 0xc1, 0xc1]))
      await connection.closed
    },
    async close() {
      worker.close()
      await stop(server)
      await redis.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function stop({ child }: ServerProcess): Promise<void> {
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

function caller(name: string, ageDays = 80, more: Partial<Facts> = {}): Partial<Facts> {
  return {
    consumer: { id: `id-of-${name}`, username: name },
    credential: {
      id: `key-of-${name}`,
      created_at: Math.floor(Date.now() / 1_000) - ageDays * DAY_SECONDS,
      tags: ['llm:chat'],
    },
    ...more,
  }
}

/** Every policy, a limit that is too small for bob, and one in shadow mode. */
function gatewayPlugin(redis: RedisServer, auditPath: string): PluginConfig {
  const config = {
    __plugin_id: 'gateway',
    redis: { host: redis.host, port: redis.port, command_timeout_ms: 1_000 },
    audit: { sinks: [{ type: 'file', path: auditPath, flush_ms: 20 }] },
    api_key: { rotation: { age_from: 'created_at' } },
    scope: { sources: ['credential'] },
    token_limit: {
      on_store_error: 'deny',
      limits: [
        { name: 'hourly', match: { consumers: ['bob'] }, limit: 10, window_seconds: 3_600 },
        { name: 'hourly', limit: 1_000_000, window_seconds: 3_600 },
        { name: 'together', per: ['global'], count: 'requests', limit: 1_000_000, window_seconds: 60 },
        { name: 'planned', limit: 20, window_seconds: 60, mode: 'shadow' },
      ],
    },
  }
  return { plugin: PLUGIN, id: 'gateway', seq: 1, config: JSON.stringify(config) }
}
