/** Usage as Anthropic reports it: `input_tokens` leaves cached and cache-creating tokens out. */

import { isObject, type JsonObject } from '../json.ts'
import { inputOnly, makeUsage, readTokens, type Usage } from '../usage.ts'

/** Of a whole message. */
export function readMessageUsage(usage: unknown): Usage | undefined {
  if (!isObject(usage)) return undefined
  return read(usage, readTokens(usage, 'cache_read_input_tokens'), readTokens(usage, 'cache_creation_input_tokens'))
}

/** Of `message_start`: its output is a running figure of a token or so. */
export function readStartUsage(usage: unknown): Usage | undefined {
  return inputOnly(readMessageUsage(usage))
}

/** Of `message_delta`: cumulative, but may leave out the cached parts that `message_start` reported. */
export function readDeltaUsage(usage: unknown, earlier: Usage | undefined): Usage | undefined {
  if (!isObject(usage)) return undefined
  return read(
    usage,
    readTokens(usage, 'cache_read_input_tokens') ?? earlier?.cachedInputTokens,
    readTokens(usage, 'cache_creation_input_tokens') ?? earlier?.cacheCreationTokens,
  )
}

function read(usage: JsonObject, cached: number | undefined, created: number | undefined): Usage | undefined {
  const uncached = readTokens(usage, 'input_tokens')
  const output = readTokens(usage, 'output_tokens')
  const extra = readExtra(usage.iterations)
  return makeUsage({
    inputTokens: uncached === undefined ? undefined : uncached + (cached ?? 0) + (created ?? 0) + extra.input,
    cachedInputTokens: uncached === undefined ? undefined : cached,
    cacheCreationTokens: uncached === undefined ? undefined : created,
    outputTokens: output === undefined ? undefined : output + extra.output,
    reasoningTokens: readTokens(usage.output_tokens_details, 'thinking_tokens'),
  })
}

/** Compaction and advisor runs are billed, and not part of the usage around them. */
function readExtra(iterations: unknown): { readonly input: number; readonly output: number } {
  let input = 0
  let output = 0
  if (Array.isArray(iterations)) {
    for (const one of iterations) {
      if (!isObject(one) || (one.type !== 'compaction' && one.type !== 'advisor_message')) continue
      for (const field of ['input_tokens', 'cache_read_input_tokens', 'cache_creation_input_tokens'])
        input += readTokens(one, field) ?? 0
      output += readTokens(one, 'output_tokens') ?? 0
    }
  }
  return { input, output }
}
