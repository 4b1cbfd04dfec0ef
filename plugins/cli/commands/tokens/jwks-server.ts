/** Serves a key set, for machines that can reach this one. Put TLS in front of it for others. */

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PortcullisError } from '../../../../policies/errors.ts'

export const JWKS_PATH = '/.well-known/jwks.json'

export interface JwksServer {
  readonly url: string
  /** Once the process was told to end. */
  readonly closed: Promise<void>
}

/** @throws {PortcullisError} `invalid_argument`, `unreachable` */
export async function serveJwks(text: string, address: string): Promise<JwksServer> {
  const [, host = '', port = ''] = /^(?:(\[[0-9a-fA-F:]+\]|[^:[\]]+):)?(\d{1,5})$/.exec(address) ?? []
  if (port === '' || Number(port) > 65_535)
    throw new PortcullisError('invalid_argument', '--serve: give host:port, such as 127.0.0.1:8800')
  const server = createServer((request, response) => {
    const known = request.url === JWKS_PATH
    const readable = request.method === 'GET' || request.method === 'HEAD'
    if (!known || !readable) {
      response.writeHead(known ? 405 : 404, known ? { allow: 'GET, HEAD' } : {}).end()
      return
    }
    response.writeHead(200, {
      'content-type': 'application/jwk-set+json',
      'content-length': Buffer.byteLength(text),
      'cache-control': 'public, max-age=300',
    })
    response.end(text)
  })
  server.listen(Number(port), host === '' ? '127.0.0.1' : host.replace(/^\[|\]$/g, ''))
  await once(server, 'listening').catch((error: unknown) => {
    const code = (error as NodeJS.ErrnoException).code ?? 'failed'
    throw new PortcullisError('unreachable', `--serve: cannot listen there (${code})`)
  })
  const bound = server.address() as AddressInfo
  const shown = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address
  const told = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  const closed = told.then(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://${shown}:${bound.port}${JWKS_PATH}`, closed }
}
