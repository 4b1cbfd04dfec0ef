/** One phase of one request: carries PDK calls to Kong and their results back. */

import type { DirectCalls } from './direct-event.ts'

export type Phase = 'access' | 'log'

/** A PDK call for Kong to make, or the end of the event. */
export type ToKong = { readonly Method: string; readonly Args: readonly unknown[] } | 'ret'

export type EventEnd = 'returned' | 'exited' | 'faulted' | 'disconnected' | 'deadline' | 'abandoned' | 'shutdown'

/** Sends the answer to the frame that Kong waits on. */
export type Respond = (data: ToKong) => void

/** What the PDK of kong-pdk needs: `get` resolves to a pair of result and error. */
export interface Pipe {
  put(call: ToKong): void
  get(): Promise<readonly [result: unknown, error: string | undefined]>
}

/** Kong runs these and never comes back to the event. */
const ENDING_METHODS: ReadonlySet<string> = new Set(['kong.response.exit', 'kong.response.error'])

/** True for an answer after which Kong does not come back. */
export function endsEvent(answer: ToKong): boolean {
  return answer === 'ret' || ENDING_METHODS.has(answer.Method)
}

const CLOSED: readonly [unknown, string] = [undefined, 'the event is over']

export interface EventOptions {
  readonly id: number
  readonly phase: Phase
  readonly plugin: string
  /** Milliseconds on a clock that never steps back. */
  readonly now: () => number
  readonly onEnd: (event: KongEvent) => void
}

export class KongEvent {
  readonly id: number
  readonly phase: Phase
  readonly plugin: string
  readonly pipe: Pipe
  /** Frames exchanged with Kong: one for the phase itself and one for every PDK call. */
  roundTrips = 0
  ended: EventEnd | undefined
  /** Of an event that came in one message: what goes back in one answer. */
  direct: DirectCalls | undefined
  /** Milliseconds on the monotonic clock when the turn last changed. */
  since: number

  private respond: Respond | undefined
  private readonly outbox: ToKong[] = []
  /** Calls that Kong has been given or will be, oldest first. */
  private readonly waiting: Array<(reply: readonly [unknown, string | undefined]) => void> = []

  private readonly openedAt: number
  private readonly now: () => number
  private readonly onEnd: (event: KongEvent) => void

  constructor(options: EventOptions) {
    this.id = options.id
    this.phase = options.phase
    this.plugin = options.plugin
    this.now = options.now
    this.onEnd = options.onEnd
    this.since = options.now()
    this.openedAt = this.since
    this.pipe = { put: (call) => this.put(call), get: () => this.get() }
  }

  /** True while Kong waits for us. */
  get kongWaits(): boolean {
    return this.respond !== undefined
  }

  /** Milliseconds since it began. */
  get age(): number {
    return this.now() - this.openedAt
  }

  /** Kong asks what to do next. */
  ask(respond: Respond): void {
    this.roundTrips += 1
    this.since = this.now()
    this.respond = respond
    this.flush()
  }

  /** The result of the oldest PDK call. Comes before the `ask` of the same frame. */
  resolve(result: unknown, error?: string): void {
    this.waiting.shift()?.([result, error])
  }

  /** Ends the event from outside: what still waits for a PDK call gets an error, so that it can give back. */
  end(how: EventEnd, answer?: ToKong): void {
    if (this.ended !== undefined) return
    const respond = this.respond
    this.close(how)
    if (answer !== undefined) respond?.(answer)
  }

  private put(call: ToKong): void {
    if (this.ended !== undefined) return
    this.outbox.push(call)
    this.flush()
  }

  private get(): Promise<readonly [unknown, string | undefined]> {
    if (this.ended !== undefined) return Promise.resolve(CLOSED)
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  private flush(): void {
    const respond = this.respond
    const next = this.outbox[0]
    if (respond === undefined || next === undefined) return
    this.outbox.shift()
    // Throws on what cannot be encoded: then Kong still waits, and the plugin can refuse.
    respond(next)
    this.respond = undefined
    this.since = this.now()
    if (endsEvent(next)) this.close(next === 'ret' ? 'returned' : 'exited')
  }

  private close(how: EventEnd): void {
    this.ended = how
    this.respond = undefined
    this.outbox.length = 0
    for (const resolve of this.waiting.splice(0)) resolve(CLOSED)
    this.onEnd(this)
  }
}
