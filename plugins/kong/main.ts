/** Entry of the `portcullis-kong` command. */

import { main } from './cli.ts'

void main(process.argv.slice(2)).then((code) => {
  if (code !== undefined) process.exitCode = code
})
