/** Text of a file or of a pipe, as `check <(deck gateway dump)` names one: how much comes, nobody knows before. */

import { createReadStream } from 'node:fs'
import { PortcullisError } from '../../../policies/errors.ts'

/** @throws {PortcullisError} `unreadable_file` when there are more than `maxBytes`, or none to be had. */
export async function readText(path: string, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of createReadStream(path, { end: maxBytes }) as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      size += chunk.length
    }
  } catch (error) {
    const code = (error as { readonly code?: unknown }).code
    throw new PortcullisError('unreadable_file', `${path}: cannot be read (${String(code)})`)
  }
  if (size > maxBytes) throw new PortcullisError('unreadable_file', `${path}: is larger than ${maxBytes} bytes`)
  return Buffer.concat(chunks).toString('utf8')
}
