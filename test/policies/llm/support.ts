import { readFileSync } from 'node:fs'
import { RefusedRead } from '../../../policies/errors.ts'
import { parseJsonBody } from '../../../policies/llm/json.ts'
import type { LlmCall, Operation, Protocol } from '../../../policies/llm/protocol.ts'
import type { ReplyTap } from '../../../policies/llm/tap-stream.ts'

const FIXTURES = new URL('../../fixtures/llm/', import.meta.url)

export function fixture(name: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(name, FIXTURES)))
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

export function textOf(pieces: readonly Uint8Array[] | Uint8Array): string {
  return Buffer.concat(pieces instanceof Uint8Array ? [pieces] : pieces).toString('utf8')
}

export function bodyOf(value: unknown) {
  return parseJsonBody(bytesOf(typeof value === 'string' ? value : JSON.stringify(value)))
}

/** Reads a body given as a value or as JSON text. */
export function readCall(protocol: Protocol, value: unknown, operation: Partial<Operation> = {}): LlmCall {
  return protocol.read(bodyOf(value), { name: 'chat', read: false, protocol, ...operation })
}

/** The refusal that `work` throws; fails when it throws anything else or nothing. */
export function refusalOf(work: () => unknown): { readonly code: string; readonly message: string } {
  try {
    work()
  } catch (error) {
    if (error instanceof RefusedRead) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error('It was not refused.')
}

/** Sends a reply through a tap in pieces of the given sizes, the last one repeating; returns what was forwarded. */
export function through(tap: ReplyTap, reply: Uint8Array, sizes: readonly number[]): string {
  const out: Uint8Array[] = []
  for (let at = 0, index = 0; at < reply.length; index++) {
    const size = sizes[Math.min(index, sizes.length - 1)] ?? reply.length
    // A copy, since a socket's buffer may be used again.
    out.push(...tap.push(reply.slice(at, at + size)).map((piece) => piece.slice()))
    at += size
  }
  out.push(...tap.end())
  return textOf(out)
}
