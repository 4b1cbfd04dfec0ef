/** What the tour prints: headings, facts, bars, and whether each step did what it should. */

export interface Screen {
  line(text?: string): void
  /** Without a line end, for a stream that is shown as it comes. */
  piece(text: string): void
  heading(text: string): void
  /** A label in its column, and what there is to say. */
  fact(label: string, text: string): void
  bar(caller: string, used: number, limit: number, window: string): void
  /** Records and shows whether something is as it should be. */
  check(ok: boolean, text: string): void
  /** How many checks failed so far. */
  readonly failures: number
  readonly checks: number
}

const WIDTH = 40
const LABEL = 10

export function createScreen(write: (text: string) => void, colours: boolean): Screen {
  const paint = (code: number, text: string): string => (colours ? `\u001b[${code}m${text}\u001b[0m` : text)
  const bold = (text: string): string => paint(1, text)
  const dim = (text: string): string => paint(2, text)
  const green = (text: string): string => paint(32, text)
  const red = (text: string): string => paint(31, text)
  const yellow = (text: string): string => paint(33, text)
  const line = (text = ''): void => write(`${text}\n`)
  let failures = 0
  let checks = 0

  return {
    line,
    piece: write,
    heading(text) {
      line()
      line(bold(text))
    },
    fact(label, text) {
      line(`  ${dim(label.padEnd(LABEL))}${text}`)
    },
    bar(caller, used, limit, window) {
      const share = Math.min(1, used / limit)
      const full = used > 0 ? Math.max(1, Math.round(share * WIDTH)) : 0
      const paintBar = share > 0.9 ? red : share > 0.6 ? yellow : green
      const drawn = paintBar('█'.repeat(full)) + dim('░'.repeat(WIDTH - full))
      line(`  ${caller.padEnd(LABEL)}${drawn} ${number(used).padStart(6)} of ${number(limit)} tokens ${window}`)
    },
    check(ok, text) {
      checks++
      if (!ok) failures++
      line(`  ${ok ? green('✓') : red('✗')} ${text}`)
    },
    get failures() {
      return failures
    },
    get checks() {
      return checks
    },
  }
}

export function number(value: number): string {
  return value.toLocaleString('en-US')
}
