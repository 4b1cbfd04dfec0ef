/**
 * Looks once through what hides characters: JSON escapes and percent encoding of up to four layers, references of HTML,
 * full-width and zero-width characters, typographic spaces and hyphens.
 */

import { entityAt } from './entities.ts'
import { isHiding, plainJoint } from './scan.ts'

/** A decoded stretch of a text; `map[i]` is where its character `i` starts in the text, with the end as last entry. */
export interface View {
  readonly text: string
  readonly map: Int32Array
}

const REACH = 120
/** Layers of percent encoding that are looked through. */
const MOST_LAYERS = 4
/** Those of four layers of JSON. */
const MOST_BACKSLASHES = 7

/** The stretches around hidden characters, merged where they meet. `offsets` ascend. */
export function stretches(length: number, offsets: readonly number[]): [number, number][] {
  const merged: [number, number][] = []
  for (const offset of offsets) {
    const start = Math.max(0, offset - REACH)
    const end = Math.min(length, offset + REACH)
    const last = merged.at(-1)
    if (last !== undefined && start <= last[1]) last[1] = end
    else merged.push([start, end])
  }
  return merged
}

function hexAt(text: string, at: number, count: number): number {
  const digits = text.slice(at, at + count)
  return digits.length === count && /^[0-9a-f]+$/i.test(digits) ? Number.parseInt(digits, 16) : -1
}

/** Decodes a stretch. Only printable ASCII and Latin letters come out of escapes; all else stays as it is. */
export function decode(text: string, start: number, end: number): View {
  let decoded = ''
  const map = new Int32Array(end - start + 1)
  let at = start
  const emit = (code: number, from: number, to: number) => {
    map[decoded.length] = from
    decoded += String.fromCharCode(code)
    at = to
  }
  while (at < end) {
    const code = text.charCodeAt(at)
    if (code === 37) {
      let next = at + 3
      let value = hexAt(text, at + 1, 2)
      // Encoded more than once: `%2540`.
      for (let layer = 1; value === 37 && layer < MOST_LAYERS; layer++) {
        const inner = hexAt(text, next, 2)
        if (inner < 32 || inner >= 127) break
        value = inner
        next += 2
      }
      if (value >= 32 && value < 127) {
        emit(value, at, next)
        continue
      }
    } else if (code === 38) {
      const entity = entityAt(text, at)
      if (entity !== undefined) {
        if (isHiding(entity.code)) at = entity.end
        else emit(plainJoint(entity.code) || entity.code, at, entity.end)
        continue
      }
    } else if (code === 92) {
      // Escaped more than once, each layer doubles its backslashes.
      let last = at
      while (last - at < MOST_BACKSLASHES && text.charCodeAt(last + 1) === 92) last++
      const kind = text[last + 1]
      const value = kind === 'u' ? hexAt(text, last + 2, 4) : kind === 'x' ? hexAt(text, last + 2, 2) : -1
      const next = last + (kind === 'u' ? 6 : 4)
      if (value >= 32 && (value < 0x180 || plainJoint(value) !== 0)) {
        emit(plainJoint(value) || value, at, next)
        continue
      }
      if (value >= 0 && isHiding(value)) {
        if (value >= 0xff01 && value <= 0xff5e) emit(value - 0xfee0, at, next)
        else at = next
        continue
      }
      if (kind === '/') {
        emit(47, at, last + 2)
        continue
      }
    } else if (isHiding(code)) {
      if (code >= 0xff01 && code <= 0xff5e) emit(code - 0xfee0, at, at + 1)
      else at++
      continue
    }
    emit(plainJoint(code) || code, at, at + 1)
  }
  map[decoded.length] = end
  return { text: decoded, map: map.subarray(0, decoded.length + 1) }
}
