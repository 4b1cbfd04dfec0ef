/** A local HTTP server of JSON Web Key Sets that can be told to misbehave. */

import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface JwksServer {
  readonly url: string
  /** How many requests came. */
  readonly hits: number
  /** What is answered from now on. */
  serve(answer: Answer): void
  close(): Promise<void>
}

export type Answer =
  | { readonly keys: readonly object[] }
  | { readonly text: string }
  | { readonly status: number }
  /** Never answered. */
  | { readonly hang: true }
  /** Answered after so many milliseconds. */
  | { readonly delayMs: number; readonly keys: readonly object[] }
  /** Bytes without an end, as fast as they are taken. */
  | { readonly endless: true }
  | { readonly redirectTo: string }
  /** The head, a part of the body, and then nothing but a closed connection. */
  | { readonly cut: true }

export async function startJwksServer(first: Answer = { keys: [] }): Promise<JwksServer> {
  let answer = first
  let hits = 0
  const server = createServer((_, response) => {
    hits += 1
    give(response, answer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    get hits() {
      return hits
    },
    serve(next) {
      answer = next
    },
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

function give(response: ServerResponse, answer: Answer): void {
  const json = (keys: readonly object[]) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ keys }))
  }
  if ('hang' in answer) return
  if ('delayMs' in answer) setTimeout(() => json(answer.keys), answer.delayMs)
  else if ('keys' in answer) json(answer.keys)
  else if ('text' in answer) response.end(answer.text)
  else if ('status' in answer) response.writeHead(answer.status).end('{"keys":[]}')
  else if ('redirectTo' in answer) response.writeHead(302, { location: answer.redirectTo }).end()
  else if ('cut' in answer) {
    response.writeHead(200, { 'content-length': '1000' })
    response.write('{"keys":[', () => response.destroy())
  } else pour(response)
}

function pour(response: ServerResponse): void {
  const piece = Buffer.alloc(16_384, ' ')
  const more = (): void => {
    while (!response.destroyed && response.write(piece));
    if (!response.destroyed) response.once('drain', more)
  }
  more()
}
