/** The real Express Gateway in a process of its own: `gateway-process.ts SPEC`, where SPEC is a file. */

import { channel } from 'node:diagnostics_channel'
import { readFileSync, writeFileSync } from 'node:fs'
import { createDeps } from '../../../plugins/deps.ts'
import { adaptPolicy } from '../../../plugins/express-gateway/adapter.ts'
import { init } from '../../../plugins/express-gateway/index.ts'
import { observersOf } from '../../../plugins/express-gateway/observers.ts'
import type { Exchange, Policy } from '../../../policies/policy.ts'
import { defineFields } from '../../../policies/schema/fields.ts'
import { type ConsumerOptions, startGateway } from '../../plugins/express-gateway/support/gateway.ts'

export interface GatewaySpec {
  readonly config: Readonly<Record<string, unknown>>
  readonly consumers: readonly ConsumerOptions[]
  /** Where the address is written once the gateway listens. */
  readonly addressFile: string
  /** What exceptions say. */
  readonly exception: string
  /** A policy that logs what it sees: the suite must catch it. */
  readonly leaks: boolean
}

const spec = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as GatewaySpec

/** Says on standard error what happens, as an operator's own listener might. */
for (const kind of ['decision', 'settle', 'store', 'fault'])
  channel(`portcullis:${kind}`).subscribe((event) =>
    process.stderr.write(`telemetry ${kind} ${JSON.stringify(event)}\n`),
  )

const noFields = defineFields({})

async function textOf(exchange: Exchange): Promise<string> {
  return Buffer.from((await exchange.body()) ?? []).toString()
}

/** Throws where a request asks for it. */
const faulty: Policy<typeof noFields> = {
  name: 'llm-faulty',
  fields: noFields,
  create: () => ({
    maxBodyBytes: 65_536,
    async decide(exchange) {
      const where = await exchange.header('x-fault')
      if (where === 'decide') throw new Error(`${spec.exception} ${await textOf(exchange)}`)
      if (where === undefined) return { type: 'pass' }
      const data = { where, text: spec.exception }
      return {
        type: 'pass',
        reservation: { id: where, policy: 'llm-faulty', estimated: { input: 0, output: 0 }, data },
      }
    },
    async settle() {
      throw new TypeError(spec.exception)
    },
    readReply: () => ({
      push() {
        throw new RangeError(spec.exception)
      },
    }),
    observe(ending) {
      if (ending.reservations.length > 0) throw new Error(spec.exception)
    },
  }),
}

const leaky: Policy<typeof noFields> = {
  name: 'llm-leaky',
  fields: noFields,
  create: (_, { logger }) => ({
    maxBodyBytes: 65_536,
    async decide(exchange) {
      if (spec.leaks) logger.info('debugging', { body: await textOf(exchange) })
      return { type: 'pass' }
    },
  }),
}

const gateway = await startGateway({
  plugin(context) {
    init(context)
    const observers = observersOf(context, context.logger as never)
    const { services } = context
    const logger = { info: write, warn: write, error: write }
    for (const policy of [faulty, leaky])
      context.registerPolicy(
        adaptPolicy(policy, { deps: createDeps({ logger }), services, synchronousConditions: [], observers }),
      )
  },
  config: spec.config,
  consumers: spec.consumers,
  // What Express Gateway itself says at its usual level.
  log(level, message) {
    if (['error', 'warn', 'info'].includes(level)) process.stderr.write(`gateway ${level} ${message}\n`)
  },
})
writeFileSync(spec.addressFile, gateway.baseUrl)

function write(message: string, fields?: unknown): void {
  process.stderr.write(`policy ${message} ${JSON.stringify(fields ?? {})}\n`)
}
