/** Reads audit records from NDJSON, or from a log in which lines carry more than the record, such as Kong's. */

import { SCHEMA_VERSION } from '../../../policies/audit/record.ts'

/** What the report looks at. Texts are as the gateway's operator or its callers chose them. */
export interface SeenRecord {
  /** Epoch milliseconds. */
  readonly time: number
  readonly consumer: string
  readonly model: string
  readonly route: string
  readonly refused: boolean
  readonly wouldReject: readonly HeldBack[]
  /** Input and output, as far as they are known. */
  readonly tokens: number
  /** How many requests it stands for, where only a sample was recorded. */
  readonly weight: number
}

/** A refusal that shadow mode held back. */
export interface HeldBack {
  readonly code: string
  /** Name of the limit, or the missing scope; empty where the code says it all. */
  readonly rule: string
}

/** Longer lines are no records: the largest content that a record may hold is 1 MiB, doubled by escapes. */
export const MAX_LINE = 4 * 1024 * 1024

const START = `{"schema":"${SCHEMA_VERSION}"`

/** Undefined for a line without a record; `unreadable` for one that should hold a record and does not. */
export function readRecord(line: string): SeenRecord | 'unreadable' | undefined {
  const start = line.indexOf(START)
  if (start < 0) return undefined
  const end = line.lastIndexOf('}')
  const record = parsed(line.slice(start, end + 1))
  if (record === undefined) return 'unreadable'
  const time = typeof record.time === 'string' ? Date.parse(record.time) : Number.NaN
  if (Number.isNaN(time) || typeof record['portcullis.decision'] !== 'string') return 'unreadable'
  const sample = record['portcullis.audit.sample']
  return {
    time,
    consumer: firstText(record, 'user.name', 'user.id', 'user.hash', 'portcullis.credential.id', 'client.address'),
    model: firstText(record, 'gen_ai.request.model'),
    route: firstText(record, 'portcullis.route.name', 'portcullis.route.id'),
    refused: record['portcullis.decision'] === 'reject',
    wouldReject: heldBackIn(record),
    tokens: count(record['gen_ai.usage.input_tokens']) + count(record['gen_ai.usage.output_tokens']),
    weight: typeof sample === 'number' && sample > 0 && sample < 1 ? 1 / sample : 1,
  }
}

/** Each once: two plugins may have found the same. */
function heldBackIn(record: Readonly<Record<string, unknown>>): readonly HeldBack[] {
  const { 'portcullis.would_reject': codes, 'portcullis.would_reject.rules': rules } = record
  if (!Array.isArray(codes)) return []
  const found = new Map<string, HeldBack>()
  for (const [index, code] of codes.entries()) {
    if (typeof code !== 'string') continue
    const rule: unknown = Array.isArray(rules) ? rules[index] : undefined
    const held = { code, rule: typeof rule === 'string' ? rule : '' }
    found.set(JSON.stringify(held), held)
  }
  return [...found.values()]
}

function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>
  } catch {
    // Counted by the caller: a line that was cut off, or that somebody wrote.
    return undefined
  }
}

function firstText(record: Readonly<Record<string, unknown>>, ...names: readonly string[]): string {
  for (const name of names) {
    const value = record[name]
    if (typeof value === 'string' && value !== '') return value
  }
  return '-'
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : 0
}

/** Lines of a byte stream, in bounded memory; one that is too long arrives cut, and so holds no record. */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncIterable<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true })
    const lines = rest.split('\n')
    rest = (lines.pop() ?? '').slice(0, MAX_LINE)
    yield* lines
  }
  yield rest + decoder.decode()
}
