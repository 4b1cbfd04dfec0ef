/** Records for a place that cuts long lines: a line cut anywhere is no record, so content gives way first. */

import { cutWithin } from '../content.ts'
import type { AuditRecord } from '../record.ts'

const SIDES = ['portcullis.content.request', 'portcullis.content.response'] as const

/** The record as one line of at most so many bytes; undefined when it is longer even without content. */
export function lineWithin(record: AuditRecord, most: number): string | undefined {
  for (const form of [asIs, withLess, withNone]) {
    const line = JSON.stringify(form(record, most))
    if (Buffer.byteLength(line) <= most) return line
  }
  return undefined
}

function asIs(record: AuditRecord): object {
  return record
}

/** Each side gets half of the room, and what the other does not need. */
function withLess(record: AuditRecord, most: number): object {
  const less: Record<string, unknown> = { ...record }
  const texts = SIDES.flatMap((side) => {
    const text = record[side]
    return text === undefined ? [] : [{ side, text, bytes: bytesInside(text) }]
  }).sort((a, b) => a.bytes - b.bytes)
  for (const { side } of texts) Object.assign(less, { [side]: '', [`${side}.truncated`]: true })
  let room = most - Buffer.byteLength(JSON.stringify(less))
  for (const [index, { side, text, bytes }] of texts.entries()) {
    const share = Math.floor(Math.max(0, room) / (texts.length - index))
    const kept = bytes <= share ? text : cutInside(text, share)
    less[side] = kept
    if (kept === text) less[`${side}.truncated`] = record[`${side}.truncated`]
    room -= bytesInside(kept)
  }
  return less
}

/** A caller may also fill a line with what is found in a request. */
function withNone(record: AuditRecord): object {
  const bare: Record<string, unknown> = { ...record }
  for (const side of SIDES) {
    if (record[side] === undefined) continue
    for (const member of [side, `${side}.truncated`, `${side}.findings`]) delete bare[member]
    bare[`${side}.dropped`] = 'too_large'
  }
  return bare
}

/** What a text takes between the quotes of its JSON. */
function bytesInside(text: string): number {
  return Buffer.byteLength(JSON.stringify(text)) - 2
}

/** The longest start whose JSON has room: whole characters, whole placeholders. */
function cutInside(text: string, room: number): string {
  let best = ''
  let [low, high] = [0, room]
  const start = cutWithin(text, room)
  while (low <= high) {
    const middle = (low + high) >> 1
    const cut = cutWithin(start, middle)
    if (bytesInside(cut) <= room) {
      best = cut
      low = middle + 1
    } else high = middle - 1
  }
  return best
}
