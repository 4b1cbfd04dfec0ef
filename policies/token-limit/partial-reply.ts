/**
 * Google's APIs leave out of a reply what the caller does not ask for, its usage too, or wrap it into a script. They take
 * the headers that say so from the query as well.
 * @see https://cloud.google.com/apis/docs/system-parameters
 */

import { invalid } from '../llm/json.ts'
import { overridesByQuery } from '../llm/paths.ts'
import type { Protocol } from '../llm/protocol.ts'
import type { Exchange } from '../policy.ts'

const PARAMETERS: ReadonlySet<string> = new Set(['fields', '$fields', 'callback', '$callback'])
const HEADER = 'x-goog-fieldmask'

/** Where Google hangs the APIs of others: Gemini's compatible one, and Vertex. */
const COMPATIBLE = /^\/v1[a-z0-9]*\/(?:openai|projects)\//

/** @throws {RefusedRead} `invalid_request`. */
export async function assertWholeReply(exchange: Exchange, { provider }: Protocol): Promise<void> {
  if (provider !== 'gcp.gemini' && !COMPATIBLE.test(exchange.path)) return
  const names = await exchange.queryNames()
  if (overridesByQuery(names)) throw invalid('The request asks for another method or other headers in the query.')
  if (names.some((name) => PARAMETERS.has(name.toLowerCase())) || (await exchange.header(HEADER)) !== undefined)
    throw invalid('The request asks for a part of the reply, which would hide what was used.')
}
