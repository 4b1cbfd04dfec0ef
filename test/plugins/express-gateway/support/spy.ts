/** A policy that remembers what it was shown and how its reservations ended. */

import type { Caller, Decision, Exchange, Outcome, Policy, Reservation } from '../../../../policies/policy.ts'
import { defineFields } from '../../../../policies/schema/fields.ts'

const fields = defineFields({})

export interface Seen {
  readonly path: string
  readonly route: Exchange['route']
  readonly requestId: string
  readonly body: string | undefined
  readonly caller: Caller
}

export interface Spy {
  readonly policy: Policy<typeof fields>
  readonly seen: Seen[]
  /** One entry a settlement. */
  readonly settled: { readonly id: string; readonly outcome: Outcome }[]
}

/** A spy that lets a request pass, but not before it is told to. */
export function createHesitant(): { readonly spy: Spy; decide(): void } {
  let decide = (): void => {}
  const told = new Promise<void>((resolve) => {
    decide = resolve
  })
  const spy = createSpy({
    async decide(_, reservation) {
      await told
      return { type: 'pass', reservation }
    },
  })
  return { spy, decide }
}

export interface SpyOptions {
  readonly name?: string
  readonly maxBodyBytes?: number
  /** Default: pass, with a reservation. */
  decide?(exchange: Exchange, reservation: Reservation): Decision | Promise<Decision>
}

export function createSpy({ name = 'llm-spy', maxBodyBytes = 65_536, decide }: SpyOptions = {}): Spy {
  const seen: Seen[] = []
  const settled: { readonly id: string; readonly outcome: Outcome }[] = []
  const policy: Policy<typeof fields> = {
    name,
    fields,
    create: () => ({
      maxBodyBytes,
      async decide(exchange) {
        const body = await exchange.body()
        seen.push({
          path: exchange.path,
          route: exchange.route,
          requestId: exchange.requestId,
          body: body === undefined ? undefined : Buffer.from(body).toString(),
          caller: await exchange.caller(),
        })
        const reservation: Reservation = {
          id: `${name}-${seen.length}`,
          policy: name,
          estimated: { input: 0, output: 0 },
          data: null,
        }
        return decide === undefined ? { type: 'pass', reservation } : decide(exchange, reservation)
      },
      async settle(reservation, outcome) {
        settled.push({ id: reservation.id, outcome })
      },
    }),
  }
  return { policy, seen, settled }
}
