/** What the policy says about its decisions, as monitoring would hear it. */

import { type DecisionEvent, listen, type SettleEvent } from '../../policies/telemetry.ts'

export interface Heard {
  readonly decisions: DecisionEvent[]
  readonly settlements: SettleEvent[]
  clear(): void
}

export function hear(): Heard {
  const decisions: DecisionEvent[] = []
  const settlements: SettleEvent[] = []
  listen('decision', (event) => void decisions.push(event))
  listen('settle', (event) => void settlements.push(event))
  return {
    decisions,
    settlements,
    clear() {
      decisions.length = 0
      settlements.length = 0
    },
  }
}
