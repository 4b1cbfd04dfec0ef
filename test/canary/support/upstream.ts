/** An upstream that puts canaries into everything it sends, its bad days included. */

import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Upstream {
  readonly url: string
  close(): void
}

/** What it does is in the request's header `x-upstream`. @param canary a new one each time */
export async function startUpstream(canary: (place: string) => string): Promise<Upstream> {
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => answer(String(request.headers['x-upstream'] ?? 'json'), request, response))
    request.on('error', () => undefined)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')

  function answer(how: string, request: IncomingMessage, response: ServerResponse): void {
    const headers = { 'content-type': 'application/json', 'x-upstream-secret': canary('upstream header') }
    const usage = { prompt_tokens: 9, completion_tokens: 4, total_tokens: 13 }
    if (how === 'json') {
      const message = { role: 'assistant', content: canary('completion') }
      const body = { id: canary('completion id'), choices: [{ index: 0, message, finish_reason: 'stop' }], usage }
      response.writeHead(200, headers).end(JSON.stringify(body))
    } else if (how === 'error') {
      const error = {
        message: `bad key ${canary('upstream error')}`,
        type: canary('upstream error type'),
        code: canary('upstream error code'),
      }
      response.writeHead(500, headers).end(JSON.stringify({ error }))
    } else if (how === 'garbage') {
      response.writeHead(200, headers).end(`<html>${canary('upstream garbage')}`)
    } else if (how === 'close') {
      request.socket.destroy()
    } else {
      response.writeHead(200, { ...headers, 'content-type': 'text/event-stream' })
      const value = canary('streamed completion')
      for (let at = 0; at < value.length; at += 5) response.write(event(value.slice(at, at + 5)))
      if (how === 'hang') return
      if (how === 'break') {
        setTimeout(() => response.destroy(), 20)
        return
      }
      response.write(`data: ${JSON.stringify({ choices: [], usage })}\n\n`)
      response.end('data: [DONE]\n\n')
    }
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

function event(content: string): string {
  return `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`
}
