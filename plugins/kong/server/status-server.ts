/** `/healthz` and `/metrics`, for whoever reaches the address: by default only this machine. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Logger } from '../../../policies/policy.ts'
import type { ServerState } from './serve.ts'

export interface StatusSource {
  state(): ServerState | undefined
  readonly metrics: { readonly contentType: string; render(): Promise<string> }
}

export interface StatusServer {
  /** Undefined while another process has the port. */
  readonly port: number | undefined
  close(): void
}

export interface StatusAddress {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
}

const RETRY_MS = 500

/**
 * Never keeps the process from its work: while the port is taken, or the host's name means nothing yet, it says so and
 * tries again. On `kong reload` the process before this one still has the port.
 */
export function startStatusServer(address: StatusAddress, source: StatusSource, logger: Logger): StatusServer {
  const server = createServer((request, response) => {
    const path = request.url?.split('?', 1)[0]
    if (request.method !== 'GET') response.writeHead(405).end()
    else if (path === '/healthz') {
      const state = source.state()
      const healthy = state !== undefined && !state.stopping
      response.writeHead(healthy ? 200 : 503, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      response.end(JSON.stringify({ status: healthy ? 'ok' : 'stopping', ...state }))
    } else if (path === '/metrics') {
      source.metrics.render().then(
        (text) => response.writeHead(200, { 'content-type': source.metrics.contentType }).end(text),
        () => response.writeHead(500).end(),
      )
    } else response.writeHead(404).end()
  })
  server.headersTimeout = 5_000
  server.requestTimeout = 10_000
  let retry: NodeJS.Timeout | undefined
  let said = false
  const listen = () => server.listen({ ...address })
  server.on('error', (error: NodeJS.ErrnoException) => {
    if (!said) logger.warn('metrics address not available; trying on', { ...address, code: error.code })
    said = true
    retry = setTimeout(listen, RETRY_MS).unref()
  })
  listen()
  server.unref()
  return {
    get port() {
      return (server.address() as AddressInfo | null)?.port
    },
    close() {
      clearTimeout(retry)
      server.close()
      server.closeAllConnections()
    },
  }
}
