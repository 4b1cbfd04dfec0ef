#!/usr/bin/env node
/** Entry of the `portcullis` command. */

import { run } from './program.ts'

process.exitCode = await run(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  env: process.env,
})
