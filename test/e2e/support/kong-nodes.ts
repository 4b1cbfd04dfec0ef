/** Several Kong nodes at once, all with one configuration. */

import { type ChildProcess, fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { KongConfig } from './kong.ts'
import { until } from './wait.ts'

export interface KongNodes {
  readonly urls: readonly string[]
  /** Returns once every node serves it. @throws when a node refuses it. */
  apply(config: KongConfig): Promise<void>
  stop(): Promise<void>
}

interface Node {
  readonly child: ChildProcess
  readonly url: string
}

export async function startKongNodes(count: number): Promise<KongNodes> {
  const nodes: Node[] = []
  async function stop(): Promise<void> {
    await Promise.all(
      nodes.map(async ({ child }) => {
        const ended = once(child, 'exit')
        child.disconnect()
        await ended
      }),
    )
  }
  try {
    // One after the other: two Kongs starting at once are much for a small machine.
    for (let started = 0; started < count; started++) nodes.push(await startNode())
  } catch (error) {
    await stop()
    throw error
  }
  return {
    urls: nodes.map(({ url }) => url),
    async apply(config) {
      const mark = randomUUID()
      await Promise.all(nodes.map((node) => applyTo(node, marked(config, mark), mark)))
    },
    stop,
  }
}

async function startNode(): Promise<Node> {
  const config = JSON.stringify(marked({ _format_version: '3.0' }, 'none yet'))
  const child = fork(new URL('./kong-node.ts', import.meta.url), [config], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  return { child, url: await heard(child) }
}

async function applyTo({ child, url }: Node, config: KongConfig, mark: string): Promise<void> {
  const answer = heard(child)
  child.send(config)
  const said = await answer
  if (said !== 'applied') throw new Error(said)
  // Kong answers before its workers have taken the configuration over.
  await until('Kong serves what it was given', async () => (await (await fetch(url + MARK)).text()).includes(mark))
}

const MARK = '/which-configuration'

/** The configuration with a route that tells it from others. */
function marked(config: KongConfig, mark: string): KongConfig {
  const plugins = [{ name: 'request-termination', config: { status_code: 200, message: mark } }]
  const service = { name: 'mark', url: 'http://127.0.0.1:9', routes: [{ name: 'mark', paths: [MARK], plugins }] }
  return { ...config, services: [...(config.services ?? []), service] }
}

/** What the process says next. @throws when it ends instead. */
async function heard(child: ChildProcess): Promise<string> {
  const over = new AbortController()
  const ended = once(child, 'exit', { signal: over.signal }).then(([code]) => {
    throw new Error(`a Kong node ended with ${code}`)
  })
  try {
    const [said] = (await Promise.race([once(child, 'message', { signal: over.signal }), ended])) as [string]
    return said
  } finally {
    over.abort()
    ended.catch(() => undefined)
  }
}
