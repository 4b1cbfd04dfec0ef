/**
 * What a record keeps of a reply, read as it passes. A stream is put together again, redacted across the borders of its
 * pieces, and each candidate, block or tool call by itself, since a secret may be spread over events that alternate.
 */

import { createHmac, type Hmac } from 'node:crypto'
import { isObject } from '../llm/json.ts'
import type { Protocol } from '../llm/protocol.ts'
import { createSseParser } from '../llm/sse.ts'
import type { ReplyReader } from '../policy.ts'
import { type CallOptions, type Redactor, redactBodyWith, type StreamRedactor, streamWith } from '../redaction/index.ts'
import { type ContentOptions, countTypes, cutWithin } from './content.ts'
import type { AuditRecord } from './record.ts'

export type ReplyContent = Partial<
  Pick<
    AuditRecord,
    | 'portcullis.content.response'
    | 'portcullis.content.response.truncated'
    | 'portcullis.content.response.findings'
    | 'portcullis.content.response.hash'
    | 'portcullis.content.response.dropped'
  >
>

export interface CompletionReader extends ReplyReader {
  /** Ends the reading. Never throws. */
  content(): ReplyContent
}

export interface CompletionOptions extends ContentOptions {
  /** By which the events of a stream are read; undefined: a stream cannot be read. */
  readonly protocol: Protocol | undefined
  readonly tenant: string
  /** Largest whole JSON reply that is read, in bytes. */
  readonly maxBodyBytes: number
}

export function isCompletionReader(reader: ReplyReader | undefined): reader is CompletionReader {
  return reader !== undefined && 'content' in reader
}

/** Undefined with `content: none`. */
export function createCompletionReader(options: CompletionOptions): CompletionReader | undefined {
  if (options.content === 'none') return undefined
  if (options.content === 'hash') return hashReader(createHmac('sha256', options.hashKey ?? ''))
  return redactingReader(options)
}

function hashReader(hmac: Hmac): CompletionReader {
  return {
    push: (chunk) => void hmac.update(chunk),
    content: () => ({ 'portcullis.content.response.hash': hmac.digest('hex') }),
  }
}

/** Told what a reply is by its first byte: an upstream may lie about its type, or answer a stream with an error. */
function redactingReader(options: CompletionOptions): CompletionReader {
  let inner: CompletionReader | undefined
  let failed = false
  const guarded = (step: () => ReplyContent): ReplyContent => {
    if (failed) return DROPPED.redaction_failed
    try {
      return step()
    } catch (error) {
      failed = true
      inner = undefined
      options.onFault(error)
      return DROPPED.redaction_failed
    }
  }
  return {
    push(chunk) {
      guarded(() => {
        inner ??= readerFor(chunk, options)
        inner?.push(chunk)
        return {}
      })
    },
    content: () => guarded(() => inner?.content() ?? {}),
  }
}

const DROPPED = {
  unreadable: { 'portcullis.content.response.dropped': 'unreadable' },
  too_large: { 'portcullis.content.response.dropped': 'too_large' },
  redaction_failed: { 'portcullis.content.response.dropped': 'redaction_failed' },
} as const satisfies Readonly<Record<string, ReplyContent>>

/** Undefined while there is nothing but white space and byte order marks. */
function readerFor(chunk: Uint8Array, options: CompletionOptions): CompletionReader | undefined {
  const first = chunk.find((byte) => byte > 0x20 && byte !== 0xef && byte !== 0xbb && byte !== 0xbf)
  if (first === undefined) return undefined
  return first === 0x7b || first === 0x5b ? jsonReader(options) : streamReader(options)
}

function jsonReader(options: CompletionOptions): CompletionReader {
  let pieces: Uint8Array[] = []
  let size = 0
  return {
    push(chunk) {
      size += chunk.length
      if (size <= options.maxBodyBytes) pieces.push(chunk.slice())
      else pieces = []
    },
    content() {
      if (size > options.maxBodyBytes) return DROPPED.too_large
      const { body, findings } = redactBodyWith(options.redactor, Buffer.concat(pieces), callOptions(options))
      return kept(typeof body === 'string' ? body : JSON.stringify(body), countTypes(findings), false, options)
    },
  }
}

function callOptions({ tenant, now }: CompletionOptions): CallOptions {
  return { tenant, now: now() }
}

interface Lane {
  readonly redactor: StreamRedactor
  text: string
  /** Did not get all of its text: what is held back may be one half of a secret. */
  starved: boolean
}

/** More than any API streams at once; what comes beyond is left out, and the record says that it is cut. */
const MOST_LANES = 32

function streamReader(options: CompletionOptions): CompletionReader {
  const { protocol } = options
  const lanes = new Map<string, Lane>()
  const counts: Record<string, number> = {}
  const redactor = counting(options.redactor, counts)
  let room = options.maxBytes
  let events = 0
  let cut = false
  /** Text was lost, and nobody knows of which lane: whatever comes next may be the other half of a secret. */
  let gap = false

  function laneOf(name: string): Lane | undefined {
    const known = lanes.get(name)
    if (known !== undefined) return known
    if (lanes.size >= MOST_LANES) return undefined
    const lane = { redactor: streamWith(redactor, callOptions(options)), text: '', starved: false }
    lanes.set(name, lane)
    return lane
  }

  function add(name: string, text: string): void {
    const lane = room > 0 && !gap ? laneOf(name) : undefined
    if (lane === undefined) {
      cut = true
      const known = lanes.get(name)
      if (known !== undefined) known.starved = true
      return
    }
    keep(lane, lane.redactor.push(text))
  }

  function keep(lane: Lane, safe: string): void {
    lane.text += safe
    room -= Buffer.byteLength(safe)
  }

  const parser = createSseParser({
    event(bytes, start, end) {
      events += 1
      const event = parsed(bytes.subarray(start, end))
      if (protocol !== undefined && event !== undefined && !eachText(event, protocol, '', add)) cut = true
      return false
    },
    block: () => undefined,
    dropped: () => {
      cut = true
      gap = true
      for (const lane of lanes.values()) lane.starved = true
    },
  })

  return {
    push: (chunk) => parser.push(chunk),
    content() {
      parser.end()
      if (events === 0 || protocol === undefined) return DROPPED.unreadable
      for (const lane of lanes.values()) if (!lane.starved) keep(lane, lane.redactor.end())
      const texts = [...lanes.values()].map(({ text }) => text).filter((text) => text !== '')
      return kept(texts.join('\n'), counts, cut, options)
    },
  }
}

/** Undefined for what is no JSON, such as `[DONE]`. */
function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as unknown
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** What tells two texts of one event stream apart. */
const PLACES = ['index', 'output_index', 'content_index', 'summary_index', 'item_id'] as const
const DEEPEST = 32
const LONGEST_PLACE = 2_000

/**
 * Calls `use` with every generated text of an event, and where in the reply it belongs.
 * @returns whether it saw all of it.
 */
function eachText(
  value: unknown,
  protocol: Protocol,
  place: string,
  use: (lane: string, text: string) => void,
): boolean {
  if (Array.isArray(value)) {
    if (isTooDeep(place)) return false
    let whole = true
    for (const [position, item] of value.entries()) {
      const own = isObject(item) && typeof item.index === 'number' ? '' : String(position)
      whole = eachText(item, protocol, `${place}.${own}`, use) && whole
    }
    return whole
  }
  if (!isObject(value)) return true
  if (isTooDeep(place)) return false
  let whole = true
  const at = place + PLACES.map((name) => placeWord(value[name])).join('')
  for (const [key, member] of Object.entries(value)) {
    if (protocol.skipKeys.includes(key)) continue
    if (typeof member !== 'string') whole = eachText(member, protocol, `${at}.${key}`, use) && whole
    else if (member !== '' && protocol.textKeys.includes(key)) use(`${at}.${key}`, member)
  }
  return whole
}

function isTooDeep(place: string): boolean {
  return place.length > LONGEST_PLACE || place.split('.').length > DEEPEST
}

function placeWord(value: unknown): string {
  return typeof value === 'number' || typeof value === 'string' ? `#${String(value).slice(0, 100)}` : ''
}

/** The same redactor, whose placeholders are counted. */
function counting(redactor: Redactor, counts: Record<string, number>): Redactor {
  return {
    ...redactor,
    tagger(call) {
      const tag = redactor.tagger(call)
      return (type, value) => {
        counts[type] = (counts[type] ?? 0) + 1
        return tag(type, value)
      }
    },
  }
}

function kept(
  text: string,
  counts: Readonly<Record<string, number>>,
  isCut: boolean,
  { maxBytes }: CompletionOptions,
): ReplyContent {
  const cut = cutWithin(text, maxBytes)
  return {
    'portcullis.content.response': cut,
    ...(isCut || cut.length < text.length ? { 'portcullis.content.response.truncated': true } : {}),
    ...(Object.keys(counts).length === 0 ? {} : { 'portcullis.content.response.findings': counts }),
  }
}
