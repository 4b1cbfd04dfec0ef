import { connect } from 'node:net'
import type { KongConfig } from './kong.ts'
import { until } from './wait.ts'

/** Waits until Kong has its configuration in every worker, and the plugin server takes connections. */
export async function untilReady(statusPort: number, socket: string): Promise<void> {
  await until('Kong is ready', async () => (await fetch(`http://127.0.0.1:${statusPort}/status/ready`)).ok)
  await until('the plugin server listens', () => listens(socket))
}

export function listens(...where: [socket: string] | [port: number, host: string]): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = where.length === 1 ? connect(where[0]) : connect(...where)
    socket.on('connect', () => socket.end(() => resolve(true)))
    socket.on('error', () => resolve(false))
  })
}

/** @throws with Kong's own words when it refuses the configuration. */
export async function postConfig(adminPort: number, config: KongConfig): Promise<void> {
  const reply = await fetch(`http://127.0.0.1:${adminPort}/config`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(config),
  })
  if (!reply.ok) throw new Error(`POST /config answered ${reply.status}: ${await reply.text()}`)
}
