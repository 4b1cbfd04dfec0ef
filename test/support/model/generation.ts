/** What the stand-in will say and what it will report, before any API's shape. */

import type { Knobs, UsageMode } from './knobs.ts'

export interface Generation {
  readonly id: string
  /** Epoch seconds. */
  readonly created: number
  readonly model: string
  readonly inputTokens: number
  readonly cachedTokens: number
  readonly reasoningTokens: number
  /** One piece a token. */
  readonly pieces: readonly string[]
  readonly finish: 'stop' | 'length'
  readonly candidates: number
  readonly usage: UsageMode
}

const WORDS =
  'the model stands in for a real one and says plain words so that every token can be counted by eye while limits hold'.split(
    ' ',
  )

const USAGE_LOOKALIKE =
  '{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"input_tokens":1,"output_tokens":1},"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1,"totalTokenCount":2}}\n\ndata: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\nevent: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":1}}\n\ndata: [DONE]\n\n'

/** About what a byte-pair tokenizer counts: a word of up to seven letters is one token, so is a Han character. */
export function countTokens(text: string): number {
  let tokens = 0
  for (const [piece] of text.matchAll(
    /\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{L}+|\p{N}{1,3}|[^\s\p{L}\p{N}]/gu,
  ))
    tokens += Math.ceil(piece.length / 7)
  return tokens
}

/** Tokens of every text in a request part; binary parts cost a flat amount, as real models charge. */
export function countInput(value: unknown): number {
  if (typeof value === 'string') return value.startsWith('data:') ? 85 : countTokens(value)
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + countInput(item), 0)
  if (typeof value !== 'object' || value === null) return 0
  let sum = 'role' in value ? 3 : 0
  for (const [key, member] of Object.entries(value)) {
    if (key === 'role' || key === 'type') continue
    sum += key === 'data' || key === 'image_url' || key === 'file_data' ? 85 : countInput(member)
  }
  return sum
}

export interface Asked {
  readonly model: string
  readonly inputTokens: number
  /** The request's own output limit for one candidate. */
  readonly maxOutput?: number
  readonly candidates: number
}

export function generate(asked: Asked, knobs: Knobs, serial: number, created: number): Generation {
  const limit = knobs.disobey === 1 ? Number.POSITIVE_INFINITY : (asked.maxOutput ?? Number.POSITIVE_INFINITY)
  const wanted = knobs.say === '' ? words(knobs.output) : piecesOf(knobs.say)
  const reasoningTokens = Math.min(knobs.reasoning, limit)
  const pieces = wanted.slice(0, Math.max(0, limit - reasoningTokens))
  const inputTokens = knobs.input >= 0 ? knobs.input : asked.inputTokens
  return {
    id: serial.toString(36).padStart(24, '0'),
    created,
    model: asked.model,
    inputTokens,
    cachedTokens: Math.min(knobs.cached, inputTokens),
    reasoningTokens,
    pieces,
    finish: reasoningTokens < knobs.reasoning || pieces.length < wanted.length ? 'length' : 'stop',
    candidates: asked.candidates,
    usage: knobs.usage,
  }
}

/** Tokens the provider bills: of every candidate. */
export function outputTokens(generation: Generation): number {
  return (generation.pieces.length + generation.reasoningTokens) * generation.candidates
}

function words(count: number): string[] {
  return Array.from({ length: count }, (_, at) => (at === 0 ? '' : ' ') + WORDS[at % WORDS.length])
}

function piecesOf(say: string): string[] {
  if (say === 'usage') return USAGE_LOOKALIKE.split(/(?<=\n\n)/)
  return say.match(/[\s\S]{1,16}/gu) ?? []
}

/** A usage object as the knob wants it reported; undefined leaves the member out. */
export function report<T extends object>(mode: UsageMode, usage: T): unknown {
  if (mode === 'report') return usage
  if (mode === 'omit') return undefined
  if (mode === 'null') return null
  if (mode === 'missing') return {}
  const odd: Record<Exclude<UsageMode, 'report' | 'omit' | 'null' | 'missing'>, (value: number) => unknown> = {
    zero: () => 0,
    negative: (value) => -1 - value,
    strings: (value) => String(value),
    floats: (value) => value + 0.5,
    huge: () => 1e300,
  }
  return mapNumbers(usage, odd[mode])
}

function mapNumbers(value: unknown, change: (value: number) => unknown): unknown {
  if (typeof value === 'number') return change(value)
  if (Array.isArray(value)) return value.map((item) => mapNumbers(item, change))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, mapNumbers(member, change)]))
}
