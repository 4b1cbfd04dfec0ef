/** The log phase: what became of a request, its settlement, and who is told of it. */

import { PortcullisError } from '../../../policies/errors.ts'
import { readReport } from '../../../policies/llm/tap-report.ts'
import type { Pipeline } from '../../../policies/pipeline.ts'
import type { Logger, Outcome } from '../../../policies/policy.ts'
import { publish } from '../../../policies/telemetry.ts'
import { entryKey, type ReadEntry, type Report, readEntry } from '../shared-context.ts'
import { endingOf, gatherEnding, readLogged } from './observe.ts'
import { outcomeOf, outcomeOfSerialized, readSerialized } from './outcome.ts'
import type { KongPdk } from './pdk.ts'

export interface SettleOptions {
  readonly plugin: string
  readonly pipeline: Pipeline
  readonly logger: Logger
}

/** Never throws. The reservation may be another process's: after `kong reload` it is. */
export async function settle(kong: KongPdk, options: SettleOptions): Promise<void> {
  try {
    if (options.pipeline.observes) await settleAndTell(kong, options)
    else await settleOnly(kong, options)
  } catch (error) {
    const code = error instanceof PortcullisError ? error.code : 'internal_error'
    const kind = error instanceof Error ? error.name : typeof error
    options.logger.error('settlement fault', { plugin: options.plugin, code, kind })
    publish('fault', () => ({ where: `${options.plugin}.log`, code }))
  }
}

async function settleOnly(kong: KongPdk, { plugin, pipeline }: SettleOptions): Promise<void> {
  const entry = readEntry(plugin, await kong.ctx.shared.get(entryKey(plugin)))
  // Refused, or never decided: nothing is held.
  if (entry === undefined || entry.reservations.length === 0) return
  await pipeline.settle(entry.reservations, await outcome(entry, () => serialized(kong)))
}

type Ended = Pick<ReadEntry, 'protocol' | 'report'>

async function serialized(kong: KongPdk): Promise<string> {
  return (await kong.log.serialize()) ?? '{}'
}

async function outcome(entry: Ended, logData: () => Promise<string>): Promise<Outcome> {
  const { report } = entry
  if (report === undefined) return outcomeOfSerialized(readSerialized(await logData()))
  const seen = outcomeSeen(report, entry.protocol)
  // A good reply without usage: ai-proxy may have translated it from an API that the tap was not told of.
  if (seen.usage !== undefined || seen.ended !== 'complete' || report.status >= 300) return seen
  const { usage } = readSerialized(await logData())
  return usage === undefined ? seen : { ...seen, usage }
}

/** Also for a request that some plugin refused before this one ran. */
async function settleAndTell(kong: KongPdk, { plugin, pipeline }: SettleOptions): Promise<void> {
  const ending = await gatherEnding(kong, plugin)
  const text = await serialized(kong)
  const own = ending.entries.find((entry) => entry.plugin === plugin)
  const ended = await outcome({ report: ending.report, protocol: own?.protocol }, async () => text)
  const givenBack = ending.refusal?.plugin === plugin ? ending.refusal.held : []
  if (own !== undefined) await pipeline.settle(own.reservations, ended)
  const reservations = own?.reservations ?? givenBack
  pipeline.observe(endingOf({ ending, logged: readLogged(text), outcome: ended, reservations }))
}

/** @param protocol of the tap plan, by which the tap's report is read. */
export function outcomeSeen(report: Report, protocol: string | undefined): Outcome {
  const { tap } = report
  return outcomeOf(report, tap === undefined || protocol === undefined ? {} : readReport(protocol, tap))
}
