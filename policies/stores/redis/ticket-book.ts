/** Tells a second settlement of the same reservation in this process without asking Redis. */

import type { Random } from '../../policy.ts'
import { createRecentIds } from '../recent-ids.ts'
import { createTickets } from '../tickets.ts'

/** Tickets of one process count up from a multiple of this, so that it knows its own. */
const RANGE = 2 ** 32
const RANGES = 2 ** 20

export interface TicketBook {
  next(): number
  /**
   * False when it was settled before. The marks in Redis tell the reservations of other processes, except for those that
   * hold nothing, of which Redis knows nothing.
   */
  settle(id: string, ticket: number | undefined, empty: boolean, t: number): boolean
}

export function createTicketBook(random: Pick<Random, 'fraction'>): TicketBook {
  const tickets = createTickets()
  const base = Math.floor(random.fraction() * RANGES) * RANGE
  const emptyIds = createRecentIds()
  return {
    next: () => base + tickets.next(),
    settle(id, ticket, empty, t) {
      if (ticket !== undefined && ticket >= base && ticket < base + RANGE) return tickets.settle(ticket - base)
      if (!empty) return true
      if (emptyIds.has(id)) return false
      emptyIds.add(id, t)
      return true
    },
  }
}
