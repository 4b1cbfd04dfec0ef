#!/usr/bin/env node
/** Entry of the `portcullis` command. */

import { PortcullisError } from '../../policies/errors.ts'
import { run } from './program.ts'

// A reader that has left is reported to whoever waits for a write; unheard, it would end the process in the middle.
process.stdout.on('error', () => undefined)

process.exitCode = await run(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  terminals: { out: process.stdout.isTTY === true, err: process.stderr.isTTY === true },
  env: process.env,
  deliver,
  readInput,
})

function deliver(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error === null || error === undefined) resolve()
      else reject(new PortcullisError('output_closed', 'the standard output takes nothing any more'))
    })
  })
}

async function readInput(maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > maxBytes) throw new PortcullisError('input_too_large', `more than ${maxBytes} bytes on standard input`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
