/**
 * Looks once through what hides characters: JSON escapes, percent encoding, full-width and zero-width characters,
 * typographic spaces and hyphens.
 */

import { isHiding, plainJoint } from './scan.ts'

/** A decoded stretch of a text; `map[i]` is where its character `i` starts in the text, with the end as last entry. */
export interface View {
  readonly text: string
  readonly map: Int32Array
}

const REACH = 120

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
      const value = hexAt(text, at + 1, 2)
      if (value >= 32 && value < 127) {
        emit(value, at, at + 3)
        continue
      }
    } else if (code === 92) {
      const kind = text[at + 1]
      const value = kind === 'u' ? hexAt(text, at + 2, 4) : kind === 'x' ? hexAt(text, at + 2, 2) : -1
      if (value >= 32 && (value < 0x180 || plainJoint(value) !== 0)) {
        emit(plainJoint(value) || value, at, at + (kind === 'u' ? 6 : 4))
        continue
      }
      if (value >= 0 && isHiding(value)) {
        if (value >= 0xff01 && value <= 0xff5e) emit(value - 0xfee0, at, at + 6)
        else at += 6
        continue
      }
      if (kind === '/') {
        emit(47, at, at + 2)
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
