/** Numbers reservations and tells which of the last ones were settled: one bit each, so that it costs next to nothing. */

/** At 10,000 requests a second the numbers of almost an hour. */
const REMEMBERED = 2 ** 25

export interface Tickets {
  next(): number
  /** Whether this is the number of a reservation. */
  issued(ticket: number): boolean
  /** False when it was settled before, or so long ago that nobody knows. */
  settle(ticket: number): boolean
}

export function createTickets(remembered = REMEMBERED): Tickets {
  let issued = 0
  // Grows with the numbers issued, and is used in turn from then on.
  let settled = new Uint8Array(1024)
  const isIssued = (ticket: number) => Number.isInteger(ticket) && ticket >= 0 && ticket < issued
  return {
    next() {
      const ticket = issued++
      if (ticket === settled.length * 8 && ticket < remembered) {
        const larger = new Uint8Array(settled.length * 2)
        larger.set(settled)
        settled = larger
      } else if ((ticket & 7) === 0) {
        settled[(ticket % remembered) / 8] = 0
      }
      return ticket
    },
    issued: isIssued,
    settle(ticket) {
      // A whole byte of old numbers gives way at once.
      if (!isIssued(ticket) || ticket < issued - remembered + 8) return false
      const place = ticket % remembered
      const bit = 1 << (place & 7)
      const byte = settled[place >>> 3] ?? 0
      settled[place >>> 3] = byte | bit
      return (byte & bit) === 0
    },
  }
}
