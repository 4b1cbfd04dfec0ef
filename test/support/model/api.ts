/** What one API of the stand-in must be able to say. */

import type { Asked, Generation } from './generation.ts'

/** One event of a stream. `data` is JSON text, or OpenAI's `[DONE]`. */
export interface Frame {
  readonly event?: string
  readonly data: string
}

export interface ModelCall {
  readonly method: string
  /** Without the query. */
  readonly path: string
  readonly query: URLSearchParams
  /** Parsed JSON; an empty object when there is no body. */
  readonly body: Readonly<Record<string, unknown>>
}

export interface Refusal {
  readonly status: number
  readonly body: unknown
}

/** Operations that generate nothing answer with `fixed`; all others with `reply` or `frames`. */
export interface Operation {
  /** What the request asks for; a refusal when the real API would not take it. */
  read(call: ModelCall): Asked | Refusal
  stream(call: ModelCall): boolean
  reply(generation: Generation, call: ModelCall): unknown
  /** Absent: the operation does not stream. */
  frames?(generation: Generation, call: ModelCall): Iterable<Frame>
  /** The API's own error event in the middle of a stream. */
  failureFrames?(): Iterable<Frame>
  /** `array`: a stream without SSE is one JSON array (Gemini without `alt=sse`). */
  framing?(call: ModelCall): 'sse' | 'array'
}

export interface Api {
  readonly name: string
  find(method: string, path: string): Operation | undefined
  /** An error in the API's own shape. */
  failure(status: number, message?: string): unknown
}

export function isRefusal(value: Asked | Refusal): value is Refusal {
  return 'status' in value
}

export function wholeNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 ? value : undefined
}
