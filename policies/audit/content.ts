/** What a record keeps of a request's body: nothing, a keyed hash, or the redacted text. */

import { createHmac } from 'node:crypto'
import { type Redactor, redactBodyWith } from '../redaction/index.ts'
import type { Understood } from './draft.ts'
import type { AuditRecord } from './record.ts'

export type Content = Partial<
  Pick<
    AuditRecord,
    | 'portcullis.content.request'
    | 'portcullis.content.request.truncated'
    | 'portcullis.content.request.findings'
    | 'portcullis.content.request.hash'
    | 'portcullis.content.request.dropped'
  >
>

export interface ContentOptions {
  readonly content: 'none' | 'redacted' | 'hash'
  readonly maxBytes: number
  readonly hashKey: string | undefined
  readonly redactor: Redactor
  /** Epoch milliseconds. */
  now(): number
  /** Told that redaction threw. */
  onFault(error: unknown): void
}

/**
 * Never throws: what cannot be redacted is dropped.
 * @param tenant whose placeholders match each other
 */
export function contentOf(body: BodyRead, tenant: string, options: ContentOptions): Content {
  const { bytes, unread } = body
  if (options.content === 'none') return {}
  if (unread !== undefined) return { 'portcullis.content.request.dropped': unread }
  if (options.content === 'redacted') return redacted(body, tenant, options)
  if (bytes === undefined) return {}
  const key = options.hashKey ?? ''
  return { 'portcullis.content.request.hash': createHmac('sha256', key).update(bytes).digest('hex') }
}

/** A body as it was read: what it was parsed to is used before its bytes. */
export type BodyRead = Pick<Understood, 'bytes' | 'value' | 'unread'>

function redacted({ bytes, value }: BodyRead, tenant: string, options: ContentOptions): Content {
  if (bytes === undefined && value === undefined) return {}
  try {
    const read = value ?? parsed(bytes)
    if (read === undefined) return { 'portcullis.content.request.dropped': 'unreadable' }
    const { body, findings } = redactBodyWith(options.redactor, read, { tenant, now: options.now() })
    const whole = typeof body === 'string' ? body : JSON.stringify(body)
    const cut = cutWithin(whole, options.maxBytes)
    return {
      'portcullis.content.request': cut,
      ...(cut.length < whole.length ? { 'portcullis.content.request.truncated': true } : {}),
      ...(findings.length === 0 ? {} : { 'portcullis.content.request.findings': countTypes(findings) }),
    }
  } catch (error) {
    options.onFault(error)
    return { 'portcullis.content.request.dropped': 'redaction_failed' }
  }
}

export function countTypes(findings: readonly { readonly type: string }[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { type } of findings) counts[type] = (counts[type] ?? 0) + 1
  return counts
}

/** What is no JSON is redacted as the text that it is; undefined for what is no text. */
function parsed(bytes: Uint8Array | undefined): unknown {
  const text = asText(bytes)
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    if (error instanceof SyntaxError) return text
    throw error
  }
}

function asText(bytes: Uint8Array | undefined): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}

/** A placeholder, or the beginning of one, at the end of a text. */
const OPEN_PLACEHOLDER = /\[[A-Z][A-Z0-9_]{0,39}(?::[0-9a-f]{0,32})?$/
const LONGEST_PLACEHOLDER = 80

/** The longest start within `most` UTF-8 bytes: whole characters, whole placeholders. */
export function cutWithin(text: string, most: number): string {
  if (Buffer.byteLength(text) <= most) return text
  const bytes = Buffer.from(text)
  let end = most
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1
  const cut = bytes.toString('utf8', 0, end)
  const open = OPEN_PLACEHOLDER.exec(cut.slice(-LONGEST_PLACEHOLDER))
  return open === null ? cut : cut.slice(0, cut.length - open[0].length)
}
