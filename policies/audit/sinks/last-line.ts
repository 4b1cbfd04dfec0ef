/** The last whole line of a file, read from its end. */

import type { AppendFile } from '../ports.ts'

const LF = 0x0a
const WINDOW = 65_536

export interface LastLine {
  /** Without its line feed; undefined when the file has no whole line. */
  readonly line: Uint8Array | undefined
  /** Where the last whole line ends, its line feed included. */
  readonly end: number
}

export async function lastLine(file: Pick<AppendFile, 'size' | 'read'>): Promise<LastLine> {
  let window = WINDOW
  for (;;) {
    const from = Math.max(0, file.size - window)
    const bytes = await file.read(from, file.size - from)
    const end = bytes.lastIndexOf(LF)
    const before = end <= 0 ? -1 : bytes.lastIndexOf(LF, end - 1)
    if (end !== -1 && (before !== -1 || from === 0))
      return { line: bytes.subarray(before + 1, end), end: from + end + 1 }
    if (from === 0) return { line: undefined, end: 0 }
    window *= 4
  }
}
