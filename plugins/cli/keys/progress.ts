/** How far a long run is, on standard error: over and over on a terminal, now and then elsewhere. */

import type { Io } from '../io.ts'

/** Runs shorter than this say nothing. */
const MANY = 20

export function createProgress(io: Pick<Io, 'err'>, verb: string): (done: number, all: number) => void {
  let said = 0
  return (done, all) => {
    if (all < MANY) return
    const tenth = Math.floor((done * 10) / all)
    if (tenth === said) return
    said = tenth
    io.err(`${verb} ${done} of ${all} keys\n`)
  }
}
