/** Small documents over HTTP, for policies that need one: bounded in time and size, never redirected. */

import { PortcullisError } from '../policies/errors.ts'
import type { FetchDocument } from '../policies/policy.ts'

/** @throws {PortcullisError} `document_unavailable`; its message holds neither the URL nor what was answered. */
export const fetchDocument: FetchDocument = async (url, { timeoutMs, maxBytes }) => {
  try {
    const reply = await fetch(url, {
      headers: { accept: 'application/json' },
      // A redirect would let the document's host choose another one.
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    })
    if (reply.status !== 200) {
      await reply.body?.cancel()
      throw unavailable(`was answered with status ${reply.status}`)
    }
    return await readText(reply, maxBytes)
  } catch (error) {
    if (error instanceof PortcullisError) throw error
    throw unavailable(
      error instanceof Error && error.name === 'TimeoutError' ? 'took too long' : 'could not be fetched',
    )
  }
}

async function readText(reply: Response, maxBytes: number): Promise<string> {
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of reply.body ?? []) {
    size += piece.length
    // Leaving the loop cancels the rest.
    if (size > maxBytes) throw unavailable(`is larger than ${maxBytes} bytes`)
    pieces.push(piece)
  }
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces))
}

function unavailable(why: string): PortcullisError {
  return new PortcullisError('document_unavailable', `The document ${why}.`)
}
