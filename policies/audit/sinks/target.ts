/** Where a sink's queue delivers to, and how it says that it cannot. */

import { PortcullisError } from '../../errors.ts'

/** A batch cannot be delivered, now or later: it is lost. */
export class Refused extends PortcullisError {
  override name = 'Refused'
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

export interface Target {
  /** For logs and faults, such as `audit.file`. */
  readonly name: string
  /**
   * Delivers lines (JSON objects without a line break) in order, at least the first.
   * @returns how many.
   * @throws {Refused} when they can never be delivered; {RetryLater} or anything else to be asked again with the same.
   */
  deliver(lines: readonly string[]): Promise<number>
  /** Nothing waits any more: lets go of what others may need. */
  idle?(): Promise<void>
  /** Nothing will ever be delivered again. */
  close?(): Promise<void>
}
