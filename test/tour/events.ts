/** What the policy says about its decisions, as monitoring would hear it. */

import { subscribe } from 'node:diagnostics_channel'
import type { DecisionEvent, SettleEvent } from '../../policies/telemetry.ts'

export interface Heard {
  readonly decisions: DecisionEvent[]
  readonly settlements: SettleEvent[]
  clear(): void
}

export function listen(): Heard {
  const decisions: DecisionEvent[] = []
  const settlements: SettleEvent[] = []
  subscribe('portcullis:decision', (event) => void decisions.push(event as DecisionEvent))
  subscribe('portcullis:settle', (event) => void settlements.push(event as SettleEvent))
  return {
    decisions,
    settlements,
    clear() {
      decisions.length = 0
      settlements.length = 0
    },
  }
}
