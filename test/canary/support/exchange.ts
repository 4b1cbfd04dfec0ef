/** One request to a gateway, whose client may hang up. */

import { request as httpRequest, type IncomingMessage } from 'node:http'

export interface Answer {
  readonly status: number
  readonly text: string
}

export function exchange(options: {
  readonly hostname: string
  readonly port: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Hangs up: in the middle of the request, or after the first piece of the reply. */
  readonly leave: 'sending' | 'reading' | undefined
}): Promise<Answer> {
  const { body, leave, headers, ...rest } = options
  return new Promise((resolve) => {
    const length = { 'content-length': String(Buffer.byteLength(body)) }
    const sent = httpRequest({ ...rest, method: 'POST', headers: { ...headers, ...length } })
    const gone = (): void => resolve({ status: 0, text: '' })
    sent.on('error', gone)
    sent.on('response', (reply: IncomingMessage) => {
      let text = JSON.stringify(reply.headers)
      reply.on('data', (piece) => {
        text += piece
        if (leave === 'reading') sent.destroy()
      })
      reply.on('error', gone)
      reply.on('close', () => resolve({ status: reply.statusCode ?? 0, text }))
    })
    if (leave === 'sending') {
      sent.write(body.slice(0, -20))
      setTimeout(() => sent.destroy(), 50)
    } else sent.end(body)
  })
}
