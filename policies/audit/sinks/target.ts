/** Where a sink's queue delivers to, and how it says that it cannot. */

import { PortcullisError } from '../../errors.ts'
import type { AuditRecord } from '../record.ts'

/** A batch cannot be delivered, now or later: it is lost. */
export class Refused extends PortcullisError {
  override name = 'Refused'
}

/** So many lines, from the first on, were taken; some of them are lost all the same, and nobody says which. */
export class PartlyRefused extends PortcullisError {
  override name = 'PartlyRefused'
  readonly taken: number
  readonly lost: number
  constructor(code: string, message: string, { taken, lost }: Pick<PartlyRefused, 'taken' | 'lost'>) {
    super(code, message)
    this.taken = taken
    this.lost = lost
  }
}

/** Try again, but not before. */
export class RetryLater extends PortcullisError {
  override name = 'RetryLater'
  readonly afterMs: number
  constructor(code: string, message: string, afterMs: number) {
    super(code, message)
    this.afterMs = afterMs
  }
}

/** What a line may grow by when it also reports how many records were lost. */
export const REPORT_BYTES = 48

export interface Target {
  /** For logs and faults, such as `audit.file`. */
  readonly name: string
  /** How a record is written, where that is not simply its JSON; undefined: it cannot be, and is lost. */
  line?(record: AuditRecord): string | undefined
  /**
   * Delivers lines (JSON objects without a line break) in order, at least the first.
   * @returns how many.
   * @throws {Refused} when they can never be delivered; {PartlyRefused} when some cannot; {RetryLater} or anything else to
   * be asked again with the same.
   */
  deliver(lines: readonly string[]): Promise<number>
  /** Nothing waits any more: lets go of what others may need. */
  idle?(): Promise<void>
  /** Nothing will ever be delivered again. */
  close?(): Promise<void>
}
