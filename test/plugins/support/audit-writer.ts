/** Writes records into a shared, chained file: `audit-writer.ts PATH ID COUNT`. */

import { systemClock, systemRandom } from '../../../plugins/deps.ts'
import { systemOutputs } from '../../../plugins/outputs.ts'
import { fileTarget } from '../../../policies/audit/sinks/file.ts'
import { createSink } from '../../../policies/audit/sinks/queue.ts'
import { CHAIN_KEY, makeRecord } from '../../policies/audit/support.ts'

const [path = '', id = '', count = '0'] = process.argv.slice(2)
/** The sink's own timers keep no process alive. */
setInterval(() => undefined, 1_000)
const logger = { info: () => undefined, warn: () => undefined, error: () => undefined }
const sink = createSink({
  target: fileTarget(
    { path, maxBytes: 16_384, daily: true, keep: 0, chainKey: CHAIN_KEY },
    { outputs: systemOutputs, now: () => Date.now(), warn: logger.warn },
  ),
  batchRecords: 16,
  flushMs: 1,
  queueBytes: 16_777_216,
  clock: systemClock,
  random: systemRandom,
  logger,
})
for (let number = 0; number < Number(count); number += 1) {
  sink.write(makeRecord(number, { 'portcullis.request.id': `${id}-${number}` }))
  if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 2))
}
await sink.flush(30_000)
await sink.close()
process.exit(sink.state.queued === 0 && sink.state.dropped === 0 ? 0 : 1)
