/** The adapter between a stand-in for Kong's PDK and policies made up by the test. Counts every round trip. */

import { systemClock } from '../../../../plugins/deps.ts'
import { access } from '../../../../plugins/kong/adapter/access.ts'
import type { KongPdk } from '../../../../plugins/kong/adapter/pdk.ts'
import { settle } from '../../../../plugins/kong/adapter/settle.ts'
import { FACTS_KEY, type Facts } from '../../../../plugins/kong/shared-context.ts'
import { createUnderWay } from '../../../../plugins/kong/under-way.ts'
import { createPipeline } from '../../../../policies/pipeline.ts'
import type { Decision, Exchange, Outcome, PolicyInstance, Reservation } from '../../../../policies/policy.ts'
import { callPdk, RequestEnded } from '../../../support/kong-client/pdk.ts'
import { createRequest, type KongRequest } from '../../../support/kong-client/request.ts'

export const PLUGIN = 'llm-token-limit'
export const PLUGIN_ID = '4f0f1bfc-91f1-4c4f-9a3d-0c9c3e5a1d2e'

export const RESERVATION: Reservation = {
  id: 'r1',
  policy: 'fake',
  estimated: { input: 10, output: 20 },
  data: { entries: ['ä', 1] },
}

export const FACTS: Facts = {
  version: 1,
  request_id: 'req-1',
  method: 'POST',
  path: '/v1/chat/completions',
  host: 'llm.example',
  address: '192.0.2.7',
  headers: { 'content-type': 'application/json', 'accept-encoding': 'identity' },
  header_count: 5,
  consumer: { id: 'c1', username: 'alice', custom_id: 'a-1', tags: ['gold'] },
  groups: ['red'],
  credential: { id: 'k1', created_at: 1_795_411_028, tags: ['llm:chat'], fingerprint: 'f00d' },
  route: { id: 'r', name: 'keyed' },
  service: { id: 's', name: 'llm' },
  body_in: 'base64',
  body_size: 3,
  body_base64: Buffer.from([0xff, 0x00, 0xfe]).toString('base64'),
}

export interface Stage {
  readonly request: KongRequest
  /** Methods that were called, in order. */
  readonly calls: string[]
  readonly settled: Array<{ readonly reservation: Reservation; readonly outcome: Outcome }>
  readonly logged: () => string
  /** How often a request came without facts. */
  readonly unseen: () => number
  readonly reserved: Reservation[]
  readonly background: Array<Promise<void>>
  access(): Promise<void>
  log(): Promise<void>
}

export interface StageOptions {
  readonly facts?: Facts | undefined
  readonly request?: KongRequest
  readonly decide?: (exchange: Exchange) => Decision | Promise<Decision>
  readonly settle?: PolicyInstance['settle']
  readonly maxBodyBytes?: number
  readonly deadlineMs?: number
  /** Takes a PDK call over; undefined leaves it to the stand-in. */
  readonly intercept?: (method: string, args: readonly unknown[]) => Promise<unknown> | undefined
}

export function stage(options: StageOptions): Stage {
  const request = options.request ?? createRequest({})
  if (options.facts !== undefined) request.shared.set(FACTS_KEY, structuredClone(options.facts))
  const calls: string[] = []
  const settled: Stage['settled'] = []
  const lines: string[] = []
  const reserved: Reservation[] = []
  const background: Array<Promise<void>> = []
  let unseen = 0
  const line = (message: string, fields?: unknown) => void lines.push(`${message} ${JSON.stringify(fields)}`)
  const logger = { info: line, warn: line, error: line }
  const instance: PolicyInstance = {
    maxBodyBytes: options.maxBodyBytes ?? 1_048_576,
    decide: options.decide ?? (() => ({ type: 'pass' })),
    settle:
      options.settle ??
      (async (reservation, outcome) => {
        settled.push({ reservation, outcome })
      }),
  }
  const pipeline = createPipeline([{ name: 'fake', instance }], logger)
  return {
    request,
    calls,
    settled,
    logged: () => lines.join('\n'),
    unseen: () => unseen,
    reserved,
    background,
    access: () =>
      access(pdk(request, 'access', calls, options.intercept), {
        plugin: PLUGIN,
        pluginId: PLUGIN_ID,
        pipeline,
        clock: systemClock,
        logger,
        deadlineMs: options.deadlineMs ?? 5_000,
        settlesBatches: false,
        underWay: createUnderWay(),
        onNoFacts: () => {
          unseen += 1
        },
        onReserved: (reservation) => void reserved.push(reservation),
        inBackground: (work) => void background.push(work),
      }),
    log: () => settle(pdk(request, 'log', calls, options.intercept), { plugin: PLUGIN, pipeline, logger }),
  }
}

/** As kong-pdk's: a path becomes a method, and `exit` does not stop the caller. */
function pdk(
  request: KongRequest,
  phase: 'access' | 'log',
  calls: string[],
  intercept: StageOptions['intercept'],
): KongPdk {
  const at = (path: string): unknown =>
    new Proxy(() => undefined, {
      get: (_target, name) => at(`${path}.${String(name).replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`),
      apply: async (_target, _this, args: unknown[]) => {
        calls.push(path)
        const taken = intercept?.(path, args)
        if (taken !== undefined) return taken
        try {
          return callPdk(request, phase, path, args)
        } catch (error) {
          if (!(error instanceof RequestEnded)) throw error
          return undefined
        }
      },
    })
  return at('kong') as KongPdk
}
