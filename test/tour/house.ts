/** What the tour walks through: the model stand-in, and Express Gateway with the pack in front of it. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { startGateway } from '../plugins/express-gateway/support/gateway.ts'
import { llmConfig } from '../plugins/express-gateway/support/llm-config.ts'
import { type Model, startModel } from '../support/model/index.ts'
import { TIERS, TOKEN_LIMIT } from './tiers.ts'

export interface House {
  readonly baseUrl: string
  readonly model: Model
  /** By tier. */
  readonly keys: Readonly<Record<string, string>>
  stop(): Promise<void>
}

/** A reason not to start, in words for the person at the terminal. */
export class CannotStart extends Error {
  override name = 'CannotStart'
}

const PLUGIN = new URL('../../plugins/express-gateway/index.ts', import.meta.url).pathname

/** @throws {CannotStart} when the port is not to be had. */
export async function openHouse(port: number, onLog: (line: string) => void): Promise<House> {
  await assertFree(port)
  const upstreamKey = randomBytes(16).toString('hex')
  const model = await startModel({ apiKey: upstreamKey })
  const gateway = await startGateway({
    plugin: { package: PLUGIN },
    port,
    consumers: TIERS.map(({ name }) => ({
      username: name,
      tags: [name],
      key: `${name}:${randomBytes(12).toString('base64url')}`,
    })),
    config: llmConfig({ upstreamUrl: model.url, upstreamKey, tokenLimit: TOKEN_LIMIT }),
    log: (level, line) => {
      if (level === 'error') onLog(line)
    },
  })
  return {
    baseUrl: gateway.baseUrl,
    model,
    keys: gateway.keys,
    async stop() {
      await gateway.stop()
      await model.close()
    },
  }
}

/** Express Gateway does not say why it could not listen. */
async function assertFree(port: number): Promise<void> {
  const probe = createServer()
  try {
    probe.listen(port, '127.0.0.1')
    await once(probe, 'listening')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    const why =
      code === 'EADDRINUSE' ? 'is taken' : code === 'EACCES' ? 'needs more rights' : `cannot be opened (${code})`
    throw new CannotStart(`Port ${port} ${why}. Choose another one: PORT=${port === 8080 ? 8081 : 8080} npm start`)
  }
  probe.close()
  await once(probe, 'close')
}
