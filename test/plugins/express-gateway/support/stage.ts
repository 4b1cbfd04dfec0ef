/** Starts a model and a gateway with some pipeline for one test, and stops them after it. */

import { onTestFinished } from 'vitest'
import { createDeps } from '../../../../plugins/deps.ts'
import { adaptPolicy } from '../../../../plugins/express-gateway/adapter.ts'
import { init } from '../../../../plugins/express-gateway/index.ts'
import { observersOf } from '../../../../plugins/express-gateway/observers.ts'
import type { Policy } from '../../../../policies/policy.ts'
import type { Fields } from '../../../../policies/schema/fields.ts'
import { type Model, type ModelOptions, startModel } from '../../../support/model/index.ts'
import { type ConsumerOptions, type Gateway, startGateway } from './gateway.ts'
import { llmConfig } from './llm-config.ts'

export const QUIET = { info() {}, warn() {}, error() {} }
export const TEN_THOUSAND = { limits: [{ name: 'tokens', limit: 10_000, window_seconds: 3_600 }] }

export interface StageOptions {
  /** Policies of the pipeline; default: llm-key, key-auth, llm-token-limit, proxy. */
  readonly policies?: readonly object[]
  readonly config?: Readonly<Record<string, unknown>>
  /** Policies to register beside the pack's own. */
  readonly extra?: readonly Policy<Fields>[]
  /** A condition of another plugin, and whether the operator vouches for it. */
  readonly condition?: { readonly handler: object; readonly vouched: boolean }
  readonly consumers?: readonly ConsumerOptions[]
  readonly model?: ModelOptions
  readonly log?: (level: string, message: string) => void
}

export interface Stage {
  readonly gateway: Gateway
  readonly model: Model
}

export async function setStage(options: StageOptions = {}): Promise<Stage> {
  const model = await startModel(options.model)
  onTestFinished(() => model.close())
  const gateway = await startGateway({
    plugin(context) {
      init({ ...context, settings: { synchronous_conditions: options.condition?.vouched === true ? ['mine'] : [] } })
      for (const policy of options.extra ?? []) {
        const deps = createDeps({ logger: QUIET })
        const { services } = context
        const observers = observersOf(context, QUIET)
        context.registerPolicy(adaptPolicy(policy, { deps, services, synchronousConditions: [], observers }))
      }
    },
    ...(options.condition === undefined ? {} : { conditions: [options.condition.handler] }),
    consumers: options.consumers ?? [{ username: 'ada' }],
    config: {
      ...llmConfig({
        upstreamUrl: model.url,
        tokenLimit: TEN_THOUSAND,
        ...(options.policies === undefined ? {} : { policies: options.policies }),
      }),
      ...options.config,
    },
    ...(options.log === undefined ? {} : { log: options.log }),
  })
  onTestFinished(() => gateway.stop())
  return { gateway, model }
}

/** Resolves once the gateway knows that the client of its next request has left. */
export function nextClientGone({ gateway }: Stage): Promise<void> {
  return new Promise((resolve) => {
    gateway.server.once('request', (_, response) => response.once('close', resolve))
  })
}

export const PROXY = { proxy: { action: { serviceEndpoint: 'model' } } }
export const LIMIT = { 'llm-token-limit': { action: TEN_THOUSAND } }

export const CHAT = { model: 'gpt-4o-mini', max_tokens: 20, messages: [{ role: 'user', content: 'Hi' }] }

export interface AskOptions {
  readonly path?: string
  readonly key?: string | undefined
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly signal?: AbortSignal
}

/** A chat call unless told otherwise; with ada's key unless `key` is there, even if undefined. */
export function ask({ gateway }: Stage, options: AskOptions = {}): Promise<Response> {
  const { path = '/v1/chat/completions', method = 'POST', headers, body = CHAT, signal } = options
  const key = 'key' in options ? options.key : gateway.keys.ada
  return fetch(gateway.baseUrl + path, {
    method,
    headers: {
      ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...headers,
    },
    ...(method === 'POST' ? { body: typeof body === 'string' ? body : JSON.stringify(body) } : {}),
    ...(signal === undefined ? {} : { signal }),
  })
}
