/** Writes more records to standard output than a pipe holds, then says on standard error how it went. */

import { systemClock, systemRandom } from '../../../plugins/deps.ts'
import { systemOutputs } from '../../../plugins/outputs.ts'
import { createSink } from '../../../policies/audit/sinks/queue.ts'
import { stdoutTarget } from '../../../policies/audit/sinks/stdout.ts'
import { makeRecord } from '../../policies/audit/support.ts'

/** The sink's own timers keep no process alive. */
setInterval(() => undefined, 1_000)
const logger = { info: () => undefined, warn: () => undefined, error: () => undefined }
const sink = createSink({
  target: stdoutTarget(systemOutputs, { maxLineBytes: 3_900 }),
  batchRecords: 64,
  flushMs: 1,
  queueBytes: 16_777_216,
  clock: systemClock,
  random: systemRandom,
  logger,
})
for (let number = 0; number < 2_000; number += 1) sink.write(makeRecord(number))
let turned = false
setTimeout(() => {
  turned = true
}, 200)
await sink.flush(1_000)
await sink.close()
const { queued, dropped, down } = sink.state
process.stderr.write(JSON.stringify({ turned: turned || queued === 0, queued, dropped, down }), () => process.exit(0))
