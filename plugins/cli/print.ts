/** What commands print: tables and JSON from which no terminal takes a command, whatever callers have put into names. */

/** One line a row, each cell as wide as the widest of its column. The first row is the head. */
export function columns(rows: readonly (readonly string[])[]): string {
  const lines = rows.map((row) => row.map(printable))
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)))
  const padded = (line: readonly string[]) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
  return lines.map((line) => `${padded(line).trimEnd()}\n`).join('')
}

export function asJson(data: object): string {
  return `${escaped(JSON.stringify(data, null, 2))}\n`
}

/** For output that holds one document a line. */
export function asJsonLine(data: object): string {
  return `${escaped(JSON.stringify(data))}\n`
}

/** What JSON leaves as it is, although terminals do not. */
function escaped(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (letter) => `\\u${(letter.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  )
}

/** What a client chose may hold anything, terminal commands included. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (letter) => `\\u{${(letter.codePointAt(0) ?? 0).toString(16)}}`)
}

/** As {@link printable}, but keeps lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

/** `1 key`, `2 keys`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
