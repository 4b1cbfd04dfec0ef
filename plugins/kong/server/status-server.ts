/** `/healthz` and `/metrics` on the loopback. */

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PortcullisError } from '../../../policies/errors.ts'
import type { ServerState } from './serve.ts'

export interface StatusSource {
  state(): ServerState | undefined
  readonly metrics: { readonly contentType: string; render(): Promise<string> }
}

export interface StatusServer {
  readonly port: number
  close(): void
}

/** @throws {PortcullisError} `metrics_port_unusable` */
export async function startStatusServer(port: number, source: StatusSource): Promise<StatusServer> {
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
  await listen(server, port)
  server.unref()
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(new PortcullisError('metrics_port_unusable', `cannot listen on 127.0.0.1:${port}: ${error.code}`)),
    )
    server.listen({ port, host: '127.0.0.1' }, resolve)
  })
}
