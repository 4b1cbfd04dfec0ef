/** Records in batches over HTTP: NDJSON, or OTLP/HTTP logs as JSON. */

import { otlpLogs } from '../otlp.ts'
import type { Outputs } from '../ports.ts'
import { PartlyRefused, Refused, RetryLater, type Target } from './target.ts'

export interface HttpOptions {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly format: 'ndjson' | 'otlp'
  readonly timeoutMs: number
}

const TYPES = { ndjson: 'application/x-ndjson', otlp: 'application/json' } as const

export function httpTarget(options: HttpOptions, { post }: Pick<Outputs, 'post'>): Target {
  return {
    name: 'audit.http',
    deliver: (lines) => deliver(lines),
  }

  async function deliver(lines: readonly string[]): Promise<number> {
    const text = options.format === 'otlp' ? JSON.stringify(otlpLogs(lines)) : `${lines.join('\n')}\n`
    const reply = await post({
      url: options.url,
      headers: { ...options.headers, 'content-type': TYPES[options.format] },
      body: Buffer.from(text),
      timeoutMs: options.timeoutMs,
    })
    if (reply.status >= 200 && reply.status < 300) {
      const lost = options.format === 'otlp' ? Math.min(rejectedIn(reply.json), lines.length) : 0
      if (lost === 0) return lines.length
      const message = 'The collector took these records only in part.'
      throw new PartlyRefused('otlp_partial_success', message, { taken: lines.length, lost })
    }
    const code = `http_${Math.floor(reply.status / 100)}xx`
    // A batch that is too large for the collector may be small enough in halves.
    if (reply.status === 413 && lines.length > 1) return deliver(lines.slice(0, Math.ceil(lines.length / 2)))
    if (isTemporary(reply.status))
      throw new RetryLater(code, 'The collector cannot take records now.', reply.retryAfterMs ?? 0)
    throw new Refused(code, 'The collector refuses these records.')
  }
}

/** How many log records a collector rejected for good, by OTLP's `partialSuccess`; a 64-bit number is text in its JSON. */
function rejectedIn(json = ''): number {
  let reply: { readonly partialSuccess?: { readonly rejectedLogRecords?: unknown } } | null
  try {
    reply = JSON.parse(json)
  } catch (error) {
    // Many collectors answer nothing, or something of their own.
    if (error instanceof SyntaxError) return 0
    throw error
  }
  const rejected = Number(reply?.partialSuccess?.rejectedLogRecords ?? 0)
  return Number.isSafeInteger(rejected) && rejected > 0 ? rejected : 0
}

/** Also what an operator can put right while records wait: a credential, a path, a redirect. */
function isTemporary(status: number): boolean {
  return (
    status >= 500 ||
    status < 400 ||
    status === 401 ||
    status === 403 ||
    status === 404 ||
    status === 408 ||
    status === 429
  )
}
