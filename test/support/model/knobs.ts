/** How one reply of the stand-in misbehaves: by header `x-model-<knob>`, by model name `any--<knob>-<value>`, or by code. */

export const USAGE_MODES = [
  'report',
  'omit',
  'null',
  'missing',
  'zero',
  'negative',
  'strings',
  'floats',
  'huge',
] as const
export type UsageMode = (typeof USAGE_MODES)[number]

export interface Knobs {
  /** Visible output tokens; the request's own limit still cuts them. */
  readonly output: number
  /** Reasoning tokens before the visible ones; they count towards the request's limit. */
  readonly reasoning: number
  /** Input tokens reported as read from the cache. */
  readonly cached: number
  /** Input tokens reported instead of counted; -1 counts. */
  readonly input: number
  /** Milliseconds before the first byte. */
  readonly delay: number
  /** Milliseconds between two events or pieces. */
  readonly pace: number
  /** Pieces after which the socket is destroyed; -1 never. */
  readonly break: number
  /** Pieces after which nothing more comes and the socket stays open; -1 never, 0 not even headers. */
  readonly hang: number
  /** Pieces after which the protocol's own error event ends the stream; -1 never. */
  readonly error: number
  /** 1: compressed even when nobody asked for it. */
  readonly gzip: number
  /** Fails before any token with this status; 0 succeeds. */
  readonly status: number
  readonly usage: UsageMode
  /** Says this instead of words; `usage` says text that looks like a usage report. */
  readonly say: string
  /** Content type to claim; empty tells the truth. */
  readonly type: string
  readonly framing: 'auto' | 'chunked' | 'length'
  /** 0: an OpenAI stream ends without `[DONE]`. */
  readonly done: number
  readonly ending: 'lf' | 'crlf' | 'cr'
  /** 1: SSE comments between events. */
  readonly comments: number
  /** 1: says everything, whatever output limit the request has. */
  readonly disobey: number
  /** Bytes a write; 0 writes whole events. */
  readonly cut: number
}

export const DEFAULT_KNOBS: Knobs = {
  output: 40,
  reasoning: 0,
  cached: 0,
  input: -1,
  delay: 0,
  pace: 0,
  break: -1,
  hang: -1,
  error: -1,
  gzip: 0,
  status: 0,
  usage: 'report',
  say: '',
  type: '',
  framing: 'auto',
  done: 1,
  ending: 'lf',
  comments: 0,
  disobey: 0,
  cut: 0,
}

const ONE_OF: Readonly<Record<string, readonly string[]>> = {
  usage: USAGE_MODES,
  framing: ['auto', 'chunked', 'length'],
  ending: ['lf', 'crlf', 'cr'],
}

/** @throws when a knob is unknown or its value is not of its kind: a mistyped test must not pass. */
export function readKnobs(pairs: Iterable<readonly [string, string]>): Partial<Knobs> {
  const knobs: Record<string, string | number> = {}
  for (const [name, value] of pairs) {
    const standard: unknown = Object.hasOwn(DEFAULT_KNOBS, name) ? DEFAULT_KNOBS[name as keyof Knobs] : undefined
    if (standard === undefined) throw new Error(`unknown knob ${name}`)
    if (typeof standard === 'number') {
      const number = Number(value)
      if (value === '' || !Number.isInteger(number)) throw new Error(`knob ${name} needs a whole number`)
      knobs[name] = number
    } else {
      const allowed = ONE_OF[name]
      if (allowed !== undefined && !allowed.includes(value)) throw new Error(`knob ${name} is one of ${allowed}`)
      knobs[name] = value
    }
  }
  return knobs as Partial<Knobs>
}

/** `gpt-4o-mini--output-50--usage-omit` */
export function knobsOfModel(model: string): Iterable<readonly [string, string]> {
  return model
    .split('--')
    .slice(1)
    .map((part) => {
      const dash = part.indexOf('-')
      return [part.slice(0, dash), part.slice(dash + 1)] as const
    })
}

export function knobsOfHeaders(headers: Readonly<Record<string, unknown>>): Iterable<readonly [string, string]> {
  return Object.entries(headers)
    .filter(([name]) => name.startsWith('x-model-'))
    .map(([name, value]) => [name.slice('x-model-'.length), String(value)] as const)
}
