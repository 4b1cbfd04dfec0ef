/** The log phase: what became of a request that was let through, and its settlement. */

import { PortcullisError } from '../../../policies/errors.ts'
import { readReport } from '../../../policies/llm/tap-report.ts'
import type { Pipeline } from '../../../policies/pipeline.ts'
import type { Logger, Outcome } from '../../../policies/policy.ts'
import { publish } from '../../../policies/telemetry.ts'
import { entryKey, type ReadEntry, readEntry } from '../shared-context.ts'
import { type Observed, outcomeOf, outcomeOfSerialized, readSerialized } from './outcome.ts'
import type { KongPdk } from './pdk.ts'

export interface SettleOptions {
  readonly plugin: string
  readonly pipeline: Pipeline
  readonly logger: Logger
}

/** Never throws. The reservation may be another process's: after `kong reload` it is. */
export async function settle(kong: KongPdk, options: SettleOptions): Promise<void> {
  try {
    const entry = readEntry(options.plugin, await kong.ctx.shared.get(entryKey(options.plugin)))
    // Refused, or never decided: nothing is held.
    if (entry === undefined || entry.reservations.length === 0) return
    await options.pipeline.settle(entry.reservations, await outcome(kong, entry))
  } catch (error) {
    const code = error instanceof PortcullisError ? error.code : 'internal_error'
    const kind = error instanceof Error ? error.name : typeof error
    options.logger.error('settlement fault', { plugin: options.plugin, code, kind })
    publish('fault', () => ({ where: `${options.plugin}.log`, code }))
  }
}

async function outcome(kong: KongPdk, entry: ReadEntry): Promise<Outcome> {
  const { report } = entry
  if (report === undefined) return outcomeOfSerialized(readSerialized((await kong.log.serialize()) ?? '{}'))
  const observed = observe(entry)
  const seen = outcomeOf(report, observed)
  // A good reply without usage: ai-proxy may have translated it from an API that the tap was not told of.
  if (seen.usage !== undefined || seen.ended !== 'complete' || report.status >= 300) return seen
  const { usage } = readSerialized((await kong.log.serialize()) ?? '{}')
  return usage === undefined ? seen : { ...seen, usage }
}

function observe(entry: ReadEntry): Observed {
  const tap = entry.report?.tap
  return tap === undefined || entry.protocol === undefined ? {} : readReport(entry.protocol, tap)
}
