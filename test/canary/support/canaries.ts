/** Values that must never be seen again, and the search for them. */

import { randomBytes } from 'node:crypto'

export interface Canaries {
  /** A new value for a place where a request, a reply or a config can carry text. */
  plant(place: string): string
  readonly planted: ReadonlyMap<string, string>
}

/** `text`: means nothing, so that no pattern can find it. `secret`: a token that redaction must know. */
export type CanaryKind = 'text' | 'secret'

export function createCanaries(kind: CanaryKind): Canaries {
  const planted = new Map<string, string>()
  return {
    planted,
    plant(place) {
      const value = kind === 'text' ? `canary${randomBytes(10).toString('hex')}` : `ghp_${alphanumeric(36)}`
      planted.set(value, place)
      return value
    },
  }
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

function alphanumeric(length: number): string {
  return [...randomBytes(length)].map((byte) => LETTERS[byte % LETTERS.length]).join('')
}

export interface Searched {
  readonly name: string
  readonly text: string
}

/** What was found, as `place in source`; plain, in base64 at any offset, percent-encoded, and in hex. */
export function leaksIn({ planted }: Canaries, sources: readonly Searched[]): readonly string[] {
  const found = new Set<string>()
  for (const { name, text } of sources) {
    const folded = text.toLowerCase()
    for (const [value, place] of planted)
      if (formsOf(value).some((form) => folded.includes(form.toLowerCase()))) found.add(`${place} in ${name}`)
  }
  return [...found].sort()
}

function formsOf(value: string): readonly string[] {
  const bytes = Buffer.from(value)
  const inBase64 = [0, 1, 2].flatMap((offset) => {
    const padded = Buffer.concat([Buffer.alloc(offset), bytes])
    // Without the characters that depend on what stands before and after.
    const inner = (text: string) => text.slice(offset === 0 ? 0 : offset + 1, Math.floor((padded.length * 4) / 3) - 1)
    return [inner(padded.toString('base64')), inner(padded.toString('base64url'))]
  })
  const percent = [...bytes].map((byte) => `%${byte.toString(16)}`).join('')
  return [value, ...inBase64, bytes.toString('hex'), percent]
}
