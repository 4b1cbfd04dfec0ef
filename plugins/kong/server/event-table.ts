/** Every open event, and the rules by which one that Kong forgot goes away. */

import { type EventEnd, KongEvent, type Phase, type ToKong } from './event.ts'

export interface EventLimits {
  /** Milliseconds that Kong may wait for one answer; the adapter's own deadline comes first. */
  readonly answerMs: number
  /** Milliseconds after which Kong will not come back: a Lua error in a PDK call ends the request without a word. */
  readonly idleMs: number
  /** Open events at most; the one that Kong has left alone longest makes room. */
  readonly maxOpen: number
}

export interface EventTableOptions extends EventLimits {
  /**
   * Where ids start. Kong keeps ids over a restart of this process, so they must not repeat: with ids from 0, one
   * caller's event got another caller's body.
   */
  readonly firstId: number
  readonly now: () => number
  /** What an access event gets that did not answer in time. */
  readonly refusal: ToKong
  readonly onEnd: (event: KongEvent, how: EventEnd) => void
}

export interface EventTable {
  readonly size: number
  open(phase: Phase, plugin: string): KongEvent
  find(id: number): KongEvent | undefined
  /** Ends what took too long. Called by a timer. */
  sweep(): void
  endAll(how: EventEnd): void
}

export function createEventTable(options: EventTableOptions): EventTable {
  const events = new Map<number, KongEvent>()
  let nextId = options.firstId

  function onEnd(event: KongEvent): void {
    events.delete(event.id)
    options.onEnd(event, event.ended ?? 'returned')
  }

  function expire(event: KongEvent, how: EventEnd): void {
    event.end(how, event.phase === 'access' ? options.refusal : 'ret')
  }

  function makeRoom(): void {
    for (const event of events.values()) {
      if (event.kongWaits) continue
      expire(event, 'abandoned')
      return
    }
  }

  return {
    get size() {
      return events.size
    },
    open(phase, plugin) {
      if (events.size >= options.maxOpen) makeRoom()
      const id = nextId * 2 + (phase === 'log' ? 1 : 0)
      nextId += 1
      const event = new KongEvent({ id, phase, plugin, now: options.now, onEnd })
      events.set(id, event)
      return event
    },
    find: (id) => events.get(id),
    sweep() {
      const now = options.now()
      for (const event of events.values()) {
        const spent = now - event.since
        if (event.kongWaits && spent > options.answerMs) expire(event, 'deadline')
        else if (!event.kongWaits && spent > options.idleMs) expire(event, 'abandoned')
      }
    },
    endAll(how) {
      for (const event of [...events.values()]) expire(event, how)
    },
  }
}

/** The phase that an id was made for, which holds even when a process before this one made it. */
export function phaseOfId(id: number): Phase {
  return id % 2 === 1 ? 'log' : 'access'
}
