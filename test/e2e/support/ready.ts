import type { KongConfig } from './kong.ts'
import { until } from './wait.ts'

/** Waits until Kong has its configuration in every worker and routes by it. */
export async function untilReady(statusPort: number): Promise<void> {
  await until('Kong is ready', async () => (await fetch(`http://127.0.0.1:${statusPort}/status/ready`)).ok)
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
