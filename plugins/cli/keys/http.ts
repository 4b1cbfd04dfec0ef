/** A JSON client for an operator's own servers, whose requests and replies hold secrets. */

import { PortcullisError } from '../../../policies/errors.ts'
import { isLoopback } from '../../../policies/loopback.ts'

export interface HttpReply {
  readonly status: number
  /** Parsed; undefined when there is none, or it is no JSON. */
  readonly body: unknown
}

export interface HttpClient {
  /** Without a path. */
  readonly origin: string
  /** @throws {PortcullisError} `unreachable`, `bad_reply`; never quotes a request, a reply or a header. */
  send(method: string, path: string, body?: unknown): Promise<HttpReply>
}

export interface HttpOptions {
  /** What it is, for messages. */
  readonly subject: string
  readonly address: string
  readonly headers: Readonly<Record<string, string>>
  /** Lets a secret travel without TLS beyond this machine. */
  readonly allowHttp?: boolean
}

const TIMEOUT_MS = 15_000
const MAX_REPLY_BYTES = 16 * 1024 * 1024

export function createHttpClient(options: HttpOptions): HttpClient {
  const { subject } = options
  const base = parseAddress(options)
  const prefix = base.pathname.replace(/\/+$/, '')
  assertHeaders(options)
  return {
    origin: base.origin,
    async send(method, path, body) {
      const reply = await fetch(`${base.origin}${prefix}${path}`, {
        method,
        headers: {
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...options.headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        // It would carry the token elsewhere.
        redirect: 'manual',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      }).catch((error: unknown) => {
        throw unreachable(subject, error)
      })
      if (reply.status >= 300 && reply.status < 400) {
        await reply.body?.cancel()
        throw new PortcullisError('bad_reply', `${subject} redirects elsewhere; name the address that answers itself`)
      }
      return { status: reply.status, body: parse(await readText(reply, subject)) }
    },
  }
}

function parseAddress({ subject, address, allowHttp = false }: HttpOptions): URL {
  const wrong = (why: string) => new PortcullisError('invalid_argument', `the address of ${subject} ${why}`)
  if (!URL.canParse(address)) throw wrong('is no URL')
  const url = new URL(address)
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw wrong('must be an http or https URL')
  if (url.username !== '' || url.password !== '') throw wrong('must not hold a user or password')
  if (url.search !== '' || url.hash !== '') throw wrong('must not hold a query')
  if (url.protocol === 'http:' && !allowHttp && !isLoopback(url.hostname))
    throw wrong('must be https: secrets would travel in clear text')
  return url
}

/** fetch's own message would quote the value. */
function assertHeaders({ subject, headers }: HttpOptions): void {
  for (const value of Object.values(headers))
    if (!/^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/.test(value))
      throw new PortcullisError(
        'invalid_argument',
        `the token of ${subject} is empty or holds characters it cannot have`,
      )
}

async function readText(reply: Response, subject: string): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of (reply.body ?? []) as AsyncIterable<Uint8Array>) {
      size += chunk.length
      if (size > MAX_REPLY_BYTES) throw new PortcullisError('bad_reply', `${subject} answers with too much`)
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof PortcullisError) throw error
    throw unreachable(subject, error)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    // A proxy's page, or nothing: the status says enough.
    return undefined
  }
}

function unreachable(subject: string, error: unknown): PortcullisError {
  const timedOut = error instanceof Error && error.name === 'TimeoutError'
  return new PortcullisError('unreachable', `${subject} ${timedOut ? 'does not answer' : 'cannot be reached'}`)
}
