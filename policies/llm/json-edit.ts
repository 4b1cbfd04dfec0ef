/** Edits of a JSON body by byte ranges: everything that is not edited stays as the caller wrote it. */

import type { JsonBody, JsonMember } from './json.ts'
import { scanObject } from './json-scan.ts'

/** Sets the member at `path`, one or two keys deep, to `json` (JSON text); missing objects are made. */
export interface MemberEdit {
  readonly path: readonly [string] | readonly [string, string]
  readonly json: string
}

interface Splice {
  readonly start: number
  readonly end: number
  readonly text: string
}

/** The body with the edits made. A later edit of the same path wins. */
export function editMembers(body: JsonBody, edits: readonly MemberEdit[]): Uint8Array {
  if (edits.length === 0) return body.bytes
  const nested = new Map<string, Map<string, string>>()
  const plain = new Map<string, string>()
  for (const { path, json } of edits) {
    const [key, inner] = path
    if (inner === undefined) plain.set(key, json)
    else nested.set(key, (nested.get(key) ?? new Map<string, string>()).set(inner, json))
  }
  const splices: Splice[] = []
  for (const [key, inner] of nested) {
    const member = body.members.find((one) => one.key === key)
    if (member !== undefined && body.bytes[member.valueStart] === 0x7b) {
      const inside = scanObject(body.bytes, member.valueStart).members
      splices.push(...setAll(inside, member.valueStart, inner))
    } else plain.set(key, objectText(inner))
  }
  const top = body.bytes.indexOf(0x7b)
  splices.push(...setAll(body.members, top, plain))
  return splice(body.bytes, splices)
}

/** Replaces the values that exist and adds the others behind the last member. `brace` is the object's opening brace. */
function setAll(members: readonly JsonMember[], brace: number, values: ReadonlyMap<string, string>): Splice[] {
  const splices: Splice[] = []
  const added: string[] = []
  for (const [key, json] of values) {
    const member = members.find((one) => one.key === key)
    if (member === undefined) added.push(`${JSON.stringify(key)}:${json}`)
    else splices.push({ start: member.valueStart, end: member.valueEnd, text: json })
  }
  if (added.length > 0) {
    const last = members.at(-1)
    const at = last?.valueEnd ?? brace + 1
    splices.push({ start: at, end: at, text: `${last === undefined ? '' : ','}${added.join(',')}` })
  }
  return splices
}

function objectText(values: ReadonlyMap<string, string>): string {
  return `{${[...values].map(([key, json]) => `${JSON.stringify(key)}:${json}`).join(',')}}`
}

function splice(bytes: Uint8Array, splices: readonly Splice[]): Uint8Array {
  // An insertion behind a member comes after that member's own replacement, which ends where it starts.
  const ordered = [...splices].sort((a, b) => a.start - b.start || a.end - b.end)
  const pieces: Uint8Array[] = []
  const encoder = new TextEncoder()
  let from = 0
  for (const { start, end, text } of ordered) {
    pieces.push(bytes.subarray(from, start), encoder.encode(text))
    from = end
  }
  pieces.push(bytes.subarray(from))
  return join(pieces)
}

export function join(pieces: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    joined.set(piece, at)
    at += piece.length
  }
  return joined
}
