/** How far a long run is, on standard error: over and over in one line of a terminal, now and then elsewhere. */

import type { Io } from '../io.ts'

/** Runs shorter than this say nothing. */
const MANY = 20
/** Goes back to the start of the line. */
const RETURN = '\r'
/** Erases what a longer text left behind it (ECMA-48: EL). */
const ERASE = '\x1b[K'

export interface Progress {
  show(done: number, all: number): void
  /** Before anything else is said: leaves the line. */
  end(): void
}

/** @param printsToo whether the run writes to standard output meanwhile, which may be the same terminal */
export function createProgress(io: Pick<Io, 'err' | 'terminals'>, verb: string, printsToo: boolean): Progress {
  const inPlace = io.terminals?.err === true && !(printsToo && io.terminals.out)
  const steps = inPlace ? 100 : 10
  let said = inPlace ? -1 : 0
  let inLine = false
  return {
    show(done, all) {
      if (all < MANY) return
      const step = Math.floor((done * steps) / all)
      if (step === said) return
      said = step
      const text = `${verb} ${done} of ${all} keys`
      io.err(inPlace ? `${RETURN}${text}${ERASE}` : `${text}\n`)
      inLine = inPlace
    },
    end() {
      if (inLine) io.err('\n')
      inLine = false
    },
  }
}
