/** Loaded before the plugin server: tells its telemetry, and lets exceptions happen that hold a secret. */

import { channel } from 'node:diagnostics_channel'
import { EXPLOSIVES } from './explosives.ts'

await import(EXPLOSIVES)

for (const kind of ['decision', 'settle', 'store', 'fault'])
  channel(`portcullis:${kind}`).subscribe((event) =>
    process.stderr.write(`telemetry ${kind} ${JSON.stringify(event)}\n`),
  )

const secret = process.env.CANARY_EXCEPTION ?? ''
process.on('SIGUSR2', () => {
  Promise.reject(new Error(secret))
  setTimeout(() => {
    throw new TypeError(secret)
  }, 50)
})
// The deliberate leak that the suite must catch.
if (process.env.CANARY_LEAK === '1')
  channel('portcullis:decision').subscribe(() => process.stderr.write(`debugging ${secret}\n`))
