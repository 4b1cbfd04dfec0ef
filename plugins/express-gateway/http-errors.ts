/** Requests that break HTTP itself: Node answers them without a body, and no policy ever sees them. */

import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Code } from '../../policies/errors.ts'
import type { Reject } from '../../policies/policy.ts'
import { refusalReply } from '../../policies/reply.ts'
import { recognised } from './answers.ts'

/** Of Node's HTTP parser. */
interface ClientError extends Error {
  readonly code?: string
  readonly rawPacket?: Buffer
}

const REASONS = { 400: 'Bad Request', 431: 'Request Header Fields Too Large' } as const

/** Gives such requests a body in the API's shape, unless somebody else already answers them. */
export function answerBrokenRequests(server: Server, newId: () => string): void {
  if (server.listenerCount('clientError') === 0)
    server.on('clientError', (error, socket) => answer(error, socket as Socket, newId()))
}

function answer(error: ClientError, socket: Socket, requestId: string): void {
  if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy()
    return
  }
  const reject =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? refuse(431, 'headers_too_large', 'The request has more or larger headers than the gateway takes.')
      : refuse(400, 'invalid_request', 'The request is not valid HTTP.')
  const [, method = '', target = ''] = /^([A-Z]+) (\S+)/.exec(error.rawPacket?.toString('latin1') ?? '') ?? []
  const protocol = recognised(method, target.split('?', 1)[0] ?? '')
  const reply = refusalReply(reject, { protocol, requestId })
  const headers = { ...reply.headers, 'content-length': String(Buffer.byteLength(reply.body)), connection: 'close' }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  const reason = REASONS[reject.status as keyof typeof REASONS]
  socket.end(`HTTP/1.1 ${reject.status} ${reason}\r\n${lines.join('\r\n')}\r\n\r\n${reply.body}`)
}

function refuse(status: keyof typeof REASONS, code: Code, message: string): Reject {
  return { type: 'reject', status, code, message }
}
