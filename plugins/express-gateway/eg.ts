/** The parts of Express Gateway 1.16 and Express 4 that the adapter touches; neither ships types for them. */

import type { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'

export interface EgRequest extends IncomingMessage {
  originalUrl: string
  /** By Express's own trust-proxy setting. */
  readonly ip?: string
  readonly route?: { readonly path?: unknown }
  /** What an auth policy left: a consumer, or the claims of a token. */
  readonly user?: unknown
  readonly egContext?: EgContext
}

export type EgResponse = ServerResponse

export interface EgContext {
  readonly requestID: string
  /** A copy of the endpoint in `gateway.config.yml`, symbols too. */
  readonly apiEndpoint: { readonly apiEndpointName: string; readonly [mark: symbol]: unknown }
  /** A body that replaces the request's own; the proxy pipes it upstream. */
  requestStream?: Readable
}

export type Next = (error?: unknown) => void
export type Middleware = (request: EgRequest, response: EgResponse, next: Next) => void

export interface EgPolicy {
  readonly name: string
  readonly schema: Readonly<Record<string, unknown>>
  /** Called once per step, at start and on every reload; throwing refuses the config. */
  policy(action: unknown, config: EgConfig): Middleware
}

export interface EgConfig {
  readonly gatewayConfig: GatewayConfig
}

/** `gateway.config.yml` as the gateway holds it. Every part may be missing or null in an operator's file. */
export interface GatewayConfig {
  readonly apiEndpoints?: unknown
  readonly serviceEndpoints?: unknown
  readonly pipelines?: unknown
}

export interface EgCredential {
  readonly consumerId?: string
  readonly isActive?: boolean
  readonly createdAt?: string
  readonly scopes?: unknown
  /** Of key-auth. */
  readonly keySecret?: string
}

export interface EgServices {
  readonly credential: {
    getCredential(id: string, type: string): Promise<EgCredential | null | undefined>
  }
}

export interface EgLogger {
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

export interface PluginContext {
  readonly logger: EgLogger
  readonly services: EgServices
  readonly settings: Readonly<Record<string, unknown>>
  readonly eventBus: EventEmitter
  registerPolicy(policy: EgPolicy): void
}
