/** Usage out of a 10 MB stream: our tap against `eventsource-parser` plus `JSON.parse` of every event. */

import { createParser } from 'eventsource-parser'
import { openAiChat } from '../../policies/llm/protocols/openai-chat.ts'
import { createTap } from '../../policies/llm/tap-stream.ts'
import { type BenchRow, boundRow, collectGarbage, ratioRow, sideBySide } from './harness.ts'

const STREAM_BYTES = 10 * 1024 * 1024
const REQUIRED = 3
/** What a tap may hold on to while 10 MB pass. */
const FLAT_MB = 4

const USAGE = { prompt_tokens: 16, completion_tokens: 30_000, total_tokens: 30_016 }

export async function run(): Promise<readonly BenchRow[]> {
  const chunks = cut(makeStream())
  assertSame(ours(chunks), theirs(chunks))
  const speed = await sideBySide(
    () => ours(chunks),
    () => theirs(chunks),
    { roundMs: 300 },
  )
  return [
    ratioRow('usage from a 10 MB SSE stream in 1-64 KiB chunks', 'eventsource-parser + JSON.parse', speed, REQUIRED),
    boundRow('heap held while 10 MB of SSE pass', heldMegabytes(chunks), 'MB', FLAT_MB),
  ]
}

function ours(chunks: readonly Uint8Array[]): number | undefined {
  const tap = createTap({ protocol: openAiChat.id, stream: true, withholdUsage: false }, openAiChat)
  for (const chunk of chunks) tap.push(chunk)
  tap.end()
  return tap.result().usage?.outputTokens
}

function theirs(chunks: readonly Uint8Array[]): number | undefined {
  let output: number | undefined
  const decoder = new TextDecoder()
  const parser = createParser({
    onEvent(event) {
      if (event.data === '[DONE]') return
      const chunk = JSON.parse(event.data) as { usage?: typeof USAGE | null }
      if (chunk.usage) output = chunk.usage.completion_tokens
    },
  })
  for (const chunk of chunks) parser.feed(decoder.decode(chunk, { stream: true }))
  return output
}

function assertSame(one: number | undefined, other: number | undefined): void {
  if (one !== USAGE.completion_tokens || other !== USAGE.completion_tokens)
    throw new Error(`The two sides read different usage: ${one} and ${other}`)
}

/** Largest growth of the heap and of buffers, garbage collected first, at ten points of the stream. */
function heldMegabytes(chunks: readonly Uint8Array[]): number {
  const used = () => {
    collectGarbage()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  const before = used()
  const tap = createTap({ protocol: openAiChat.id, stream: true, withholdUsage: true }, openAiChat)
  const step = Math.ceil(chunks.length / 10)
  let most = 0
  chunks.forEach((chunk, index) => {
    tap.push(chunk)
    if (index % step === 0) most = Math.max(most, used() - before)
  })
  return most / 1e6
}

/** OpenAI's own shape, with the null usage that `include_usage` puts in every chunk. */
function makeStream(): Uint8Array {
  const head =
    '{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1770933892,' +
    '"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_44709d6fcb",'
  const words = ['The', ' gate', ' opens', ',', ' für', ' alle', ' 门', '.', '\\n', ' \\"usage\\": {', ' 🚪']
  const events: string[] = []
  for (let bytes = 0, index = 0; bytes < STREAM_BYTES - 1024; index++) {
    const event =
      `data: ${head}"choices":[{"index":0,"delta":{"content":"${words[index % words.length]}"},"logprobs":null,` +
      `"finish_reason":null}],"usage":null,"obfuscation":"${'aB3kQ9xYz0Lm7Tq'.slice(index % 13)}"}\n\n`
    events.push(event)
    bytes += Buffer.byteLength(event)
  }
  events.push(`data: ${head}"choices":[],"usage":${JSON.stringify(USAGE)}}\n\n`, 'data: [DONE]\n\n')
  return new TextEncoder().encode(events.join(''))
}

/** Into pieces of 1 to 64 KiB, the same ones every time. */
function cut(stream: Uint8Array): Uint8Array[] {
  const chunks: Uint8Array[] = []
  let seed = 1
  for (let at = 0; at < stream.length; ) {
    seed = (Math.imul(seed, 48_271) >>> 0) % 2_147_483_647
    const size = 1024 + (seed % (63 * 1024))
    chunks.push(stream.subarray(at, at + size))
    at += size
  }
  return chunks
}
