/** Numbers reservations and tells which of the last ones were settled: one bit each, so that it costs next to nothing. */

/** At 10,000 requests a second the numbers of almost an hour. */
const REMEMBERED = 2 ** 25

/** A class, because its methods are compiled once for all books. */
export class Tickets {
  readonly #remembered: number
  #issued = 0
  // Grows with the numbers issued, and is used in turn from then on.
  #settled = new Uint8Array(1024)

  constructor(remembered: number) {
    this.#remembered = remembered
  }

  next(): number {
    const ticket = this.#issued++
    if ((ticket & 7) === 0) this.#openByte(ticket)
    return ticket
  }

  /** Whether this is the number of a reservation. */
  issued(ticket: number): boolean {
    return Number.isInteger(ticket) && ticket >= 0 && ticket < this.#issued
  }

  /** False when it was settled before, or so long ago that nobody knows. */
  settle(ticket: number): boolean {
    // A whole byte of old numbers gives way at once.
    if (!this.issued(ticket) || ticket < this.#issued - this.#remembered + 8) return false
    const place = ticket % this.#remembered
    const bit = 1 << (place & 7)
    const byte = this.#settled[place >>> 3] ?? 0
    this.#settled[place >>> 3] = byte | bit
    return (byte & bit) === 0
  }

  #openByte(ticket: number): void {
    if (ticket === this.#settled.length * 8 && ticket < this.#remembered) {
      const larger = new Uint8Array(this.#settled.length * 2)
      larger.set(this.#settled)
      this.#settled = larger
    }
    this.#settled[(ticket % this.#remembered) / 8] = 0
  }
}

/** @param remembered how many numbers, a power of two of at least 1024 */
export function createTickets(remembered = REMEMBERED): Tickets {
  return new Tickets(remembered)
}
