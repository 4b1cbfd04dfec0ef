import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { estimateDelivered } from '../../../policies/llm/estimate.ts'
import { PROTOCOLS, requireProtocol } from '../../../policies/llm/protocols/index.ts'
import { MAX_EVENT_BYTES, parseSse } from '../../../policies/llm/sse.ts'
import type { TapPlan } from '../../../policies/llm/tap.ts'
import { createTap } from '../../../policies/llm/tap-stream.ts'
import { bytesOf, fixture, textOf, through } from './support.ts'

const tapFor = (protocol: string, plan: Partial<TapPlan> = {}) =>
  createTap({ protocol, stream: true, withholdUsage: false, ...plan }, requireProtocol(protocol))

const chunk = (content: string, more: object = {}) =>
  `data: ${JSON.stringify({ id: 'c1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: { content }, finish_reason: null }], ...more })}\n\n`
const USAGE = `data: ${JSON.stringify({ id: 'c1', choices: [], usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 } })}\n\n`
const DONE = 'data: [DONE]\n\n'

describe('withholding the usage that the caller did not ask for', () => {
  it.each([1, 2, 3, 17, 500, 100_000])('drops that one event, in pieces of %i', (size) => {
    for (const eol of ['\n', '\r\n', '\r']) {
      const [before, usage, after] = [chunk('Hi') + chunk('!'), USAGE, DONE].map((text) => text.replaceAll('\n', eol))
      const tap = tapFor('openai-chat', { withholdUsage: true })
      expect(through(tap, bytesOf(`${before}${usage}${after}`), [size])).toBe(`${before}${after}`)
      expect(tap.result()).toMatchObject({ usage: { inputTokens: 3, outputTokens: 4 }, sawFinal: true })
    }
  })

  it('takes a large event byte by byte', () => {
    const tap = tapFor('openai-chat', { withholdUsage: true })
    const stream = chunk('x'.repeat(300_000)) + USAGE + DONE
    expect(through(tap, bytesOf(stream), [1])).toBe(stream.replace(USAGE, ''))
    expect(tap.result()).toMatchObject({ usage: { inputTokens: 3, outputTokens: 4 }, sawFinal: true })
  })

  it('takes a list of events byte by byte', () => {
    const tap = tapFor('gemini-generate')
    const list = JSON.stringify([
      { candidates: [{ content: { parts: [{ text: 'x'.repeat(300_000) }] }, finishReason: 'STOP' }] },
      { usageMetadata: { promptTokenCount: 3, candidatesTokenCount: 4 }, candidates: [{ finishReason: 'STOP' }] },
    ])
    expect(through(tap, bytesOf(list), [1])).toBe(list)
    expect(tap.result()).toMatchObject({ usage: { inputTokens: 3, outputTokens: 4 }, sawFinal: true })
  })

  it.each(['openai-chat.sse', 'azure-chat.sse', 'xai-chat.sse', 'openai-completion.sse', 'vllm-chat-continuous.sse'])(
    'leaves the rest of %s as it was',
    (name) => {
      const id = name.startsWith('openai-completion') ? 'openai-completions' : 'openai-chat'
      const kept = parseSse(bytesOf(through(tapFor(id, { withholdUsage: true }), fixture(name), [64])))
      const all = parseSse(fixture(name))
      expect(kept).toEqual(
        all.filter((event) => !/"choices":\[\].*"usage":\{|"usage":\{.*"choices":\[\]/.test(event.data)),
      )
      expect(all.length - kept.length).toBe(1)
    },
  )

  it('drops a usage event that ends without a blank line', () => {
    expect(
      through(tapFor('openai-chat', { withholdUsage: true }), bytesOf(`${chunk('Hi')}${USAGE.trimEnd()}`), [10]),
    ).toBe(chunk('Hi'))
  })

  it('does not take text for usage, nor a chunk that has more to say', () => {
    const stream = [
      chunk('","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}'),
      chunk('x', { usage: { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4 } }),
      `data: {"choices":[],"prompt_filter_results":[{"usage":{}}]}\n\n`,
      `data: {"choices":[],"usage":null}\n\n`,
      DONE,
    ].join('')
    expect(through(tapFor('openai-chat', { withholdUsage: true }), bytesOf(stream), [33])).toBe(stream)
  })

  it('holds back no more than the event that is not complete', () => {
    const tap = tapFor('openai-chat', { withholdUsage: true })
    const first = chunk('Hi')
    expect(textOf(tap.push(bytesOf(`${first}data: {"id`)))).toBe(first)
    expect(tap.push(bytesOf('":1'))).toEqual([])
    expect(textOf(tap.push(bytesOf('}\n\n')))).toBe('data: {"id":1}\n\n')
    expect(textOf(tap.push(bytesOf(': keep-alive\n\n')))).toBe(': keep-alive\n\n')
    expect(textOf(tap.push(bytesOf(': keep-alive\n')))).toBe(': keep-alive\n')
  })

  it('passes on what is too large to be a usage event', () => {
    const huge = `data: {"choices":[{"delta":{"content":"${'x'.repeat(2_000_000)}"}}]}\n\n`
    const tap = tapFor('openai-chat', { withholdUsage: true })
    expect(through(tap, bytesOf(`${huge}${USAGE}${DONE}`), [40_000])).toBe(`${huge}${DONE}`)
  })

  it('keeps no more of it than the cap', () => {
    const tap = tapFor('openai-chat', { withholdUsage: true })
    const piece = bytesOf('x'.repeat(100_000))
    let held = tap.push(bytesOf('data: ')).length === 0 ? 6 : 0
    for (let index = 0; index < 50; index++) {
      held += piece.length - tap.push(piece).reduce((sum, out) => sum + out.length, 0)
      expect(held).toBeLessThanOrEqual(MAX_EVENT_BYTES)
    }
    expect(held).toBe(0)
  })
})

describe('without withholding', () => {
  it('forwards every byte at once', () => {
    const tap = tapFor('openai-chat')
    for (const piece of ['data: {"cho', 'ices":[', ']}\n', '\n']) expect(textOf(tap.push(bytesOf(piece)))).toBe(piece)
    expect(tap.end()).toEqual([])
  })

  it('hands on the very chunk', () => {
    const piece = bytesOf(chunk('Hi'))
    expect(tapFor('openai-chat').push(piece)[0]).toBe(piece)
  })
})

describe('usage', () => {
  it('is that of a place, not of a text', () => {
    const stream = chunk('"usage":{"prompt_tokens":1,"completion_tokens":1}') + chunk('{"usage": 5}') + DONE
    expect(through(tapFor('openai-chat'), bytesOf(stream), [11])).toBe(stream)
    const tap = tapFor('openai-chat')
    through(tap, bytesOf(stream), [11])
    expect(tap.result().usage).toBeUndefined()
    const nested = `data: {"choices":[{"delta":{"tool_calls":[{"function":{"usage":{"prompt_tokens":1,"completion_tokens":1}}}]}}]}\n\n`
    const other = tapFor('openai-chat')
    through(other, bytesOf(nested), [11])
    expect(other.result().usage).toBeUndefined()
  })

  it('drops a running figure when more text follows it', () => {
    const running = chunk('', { usage: { prompt_tokens: 9, completion_tokens: 0, total_tokens: 9 } })
    const tap = tapFor('openai-chat')
    through(tap, bytesOf(running), [1000])
    expect(tap.result().usage).toEqual({ inputTokens: 9, outputTokens: 0 })
    const gone = tapFor('openai-chat')
    through(
      gone,
      bytesOf(running + chunk('One', { usage: { prompt_tokens: 9, completion_tokens: 1, total_tokens: 10 } })),
      [1000],
    )
    expect(gone.result()).toMatchObject({ usage: { inputTokens: 9 }, delivered: { characters: [3, 0, 0, 0] } })
    expect(gone.result().usage).not.toHaveProperty('outputTokens')
  })

  it('of Gemini is final only when a candidate has finished', () => {
    const [first] = parseSse(fixture('gemini.sse'))
    const tap = tapFor('gemini-generate')
    through(tap, bytesOf(`data: ${first?.data}\r\n\r\n`), [1000])
    expect(tap.result()).toMatchObject({ usage: { inputTokens: 900, cachedInputTokens: 512 }, sawFinal: false })
    expect(tap.result().usage).not.toHaveProperty('outputTokens')
  })

  it('is not there when the stream breaks off', () => {
    const tap = tapFor('openai-chat')
    through(tap, bytesOf(`${chunk('Hi')}data: {"choices":[],"usa`), [9])
    expect(tap.result()).toEqual({ delivered: { characters: [2, 0, 0, 0] }, sawFinal: false, cut: false })
  })
})

describe('delivered text', () => {
  it.each([
    ['\\u0041\\u00e9\\u95e8\\ud83d\\ude80', [1, 1, 1, 1]],
    ['\\n\\t\\"\\\\\\/', [5, 0, 0, 0]],
    ['\\uD83D', [0, 0, 1, 0]],
    ['\\uDE80\\ud83d', [0, 0, 2, 0]],
    ['\\ud83d\\u0041', [1, 0, 1, 0]],
    ['\\uD83D\\uDE80\\uD83D\\uDE80x', [1, 0, 0, 2]],
    ['aé门🚀', [1, 1, 1, 1]],
  ])('is counted in %s', (escaped, characters) => {
    const tap = tapFor('openai-chat')
    through(tap, bytesOf(`data: {"choices":[{"delta":{"content":"${escaped}"}}]}\n\n`), [5])
    expect(tap.result().delivered?.characters).toEqual(characters)
  })
})

describe('a reply that is not what it was said to be', () => {
  it('is read by what it is', () => {
    const asked = tapFor('openai-chat', { withholdUsage: true })
    const json = fixture('openai-chat.json')
    expect(through(asked, json, [50])).toBe(textOf(json))
    expect(asked.result()).toMatchObject({ usage: { outputTokens: 10 }, sawFinal: true })
    const unasked = tapFor('openai-chat', { stream: false })
    through(unasked, fixture('openai-chat.sse'), [50])
    expect(unasked.result()).toMatchObject({ usage: { outputTokens: 10 }, sawFinal: true })
  })

  it.each([
    '<html>502 Bad Gateway</html>',
    '\u001f\u008b\u0008binary',
    '\n\n  \n',
    '',
    'null',
    '"text"',
    '{',
    '[',
    '[1,2',
    '{"usage":',
  ])('passes through unharmed: %j', (text) => {
    for (const { id } of PROTOCOLS) {
      const tap = tapFor(id, { withholdUsage: id === 'openai-chat' })
      expect(through(tap, bytesOf(text), [3])).toBe(text)
      expect(tap.result().usage).toBeUndefined()
    }
  })

  it('may start with white space or a byte order mark, in pieces', () => {
    for (const start of ['\n\n', '\ufeff', ' \r\n\t']) {
      const stream = `${start}${chunk('Hi')}${USAGE}`
      for (const size of [1, 2, 5, 1000]) {
        const tap = tapFor('openai-chat')
        expect(through(tap, bytesOf(stream), [size])).toBe(stream)
        expect(tap.result()).toMatchObject({ usage: { outputTokens: 4 }, delivered: { characters: [2, 0, 0, 0] } })
      }
    }
  })
})

describe('a whole JSON reply', () => {
  const read = (text: string, size = 64) => {
    const tap = tapFor('openai-chat', { stream: false })
    expect(through(tap, bytesOf(text), [size])).toBe(text)
    return tap.result()
  }
  const USAGE_JSON = '{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}'

  it('is believed at its top level only', () => {
    const usage = { inputTokens: 3, outputTokens: 4 }
    for (const size of [1, 2, 64]) {
      expect(read(`{"usage":${USAGE_JSON},"choices":[]}`, size).usage).toEqual(usage)
      expect(read(`{"choices":[{"text":"\\"usage\\":{}, }]"}] , "usage" : ${USAGE_JSON} }`, size).usage).toEqual(usage)
      expect(read(`{"choices":[{"usage":${USAGE_JSON}}]}`, size).usage).toBeUndefined()
      expect(read(`{"a":"usage","b":${USAGE_JSON}}`, size).usage).toBeUndefined()
      expect(read(`{"a":{"usage":${USAGE_JSON}},"usage":null}`, size).usage).toBeUndefined()
      expect(read(`{"usage":"${USAGE_JSON.replaceAll('"', '\\"')}"}`, size).usage).toBeUndefined()
      expect(read(`[{"usage":${USAGE_JSON}}]`, size).usage).toEqual(usage)
    }
  })

  it('counts when it breaks off behind its usage, and not before', () => {
    expect(read(`{"usage":${USAGE_JSON},"cho`)).toMatchObject({ usage: { outputTokens: 4 }, sawFinal: false })
    expect(read(`{"usage":${USAGE_JSON}`)).toEqual({ sawFinal: false, cut: false })
  })

  it('of 50 MB is read in flat memory', () => {
    const tap = createTap(
      { protocol: 'openai-embeddings', stream: false, withholdUsage: false },
      requireProtocol('openai-embeddings'),
    )
    const numbers = bytesOf('0.0057293195,-0.012727811,'.repeat(2000))
    globalThis.gc?.()
    const before = process.memoryUsage().arrayBuffers
    tap.push(bytesOf('{"object":"list","data":[{"embedding":['))
    for (let sent = 0; sent < 50_000_000; sent += numbers.length) tap.push(numbers)
    tap.push(bytesOf('1]}],"usage":{"prompt_tokens":12,"total_tokens":12}}'))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8_000_000)
    expect(tap.result()).toMatchObject({ usage: { inputTokens: 12 }, sawFinal: true })
  })

  it('does not keep a usage member without end', () => {
    const tap = tapFor('openai-chat', { stream: false })
    tap.push(bytesOf('{"usage":{"a":"'))
    for (let index = 0; index < 50; index++) tap.push(bytesOf('x'.repeat(10_000)))
    tap.push(bytesOf(`"},"usage":${USAGE_JSON}}`))
    expect(tap.result().usage).toEqual({ inputTokens: 3, outputTokens: 4 })
  })
})

describe('a stream that runs past its budget', () => {
  const endless =
    chunk('').replace('"content":""', '"role":"assistant","content":""') +
    chunk('word and word ').repeat(200) +
    USAGE +
    DONE
  const cutAt = (id: string, stream: string | Uint8Array, plan: Partial<TapPlan>, size = 700) => {
    const tap = tapFor(id, { maxOutputTokens: 20, ...plan })
    const reply = typeof stream === 'string' ? bytesOf(stream) : stream
    const forwarded = through(tap, reply, [size])
    expect(tap.cut).toBe(true)
    expect(tap.push(bytesOf('data: more\n\n'))).toEqual([])
    const { delivered, cut } = tap.result()
    expect(cut).toBe(true)
    return { forwarded, estimate: delivered === undefined ? 0 : estimateDelivered(delivered) }
  }
  const replying = (forwarded: string) => async () =>
    new Response(forwarded, { headers: { 'content-type': 'text/event-stream' } })

  it.each([1, 50, 700, 100_000])('is ended by the event that crosses it, in pieces of %i', (size) => {
    const { forwarded, estimate } = cutAt('openai-chat', endless, {}, size)
    const events = parseSse(bytesOf(forwarded)).map((event) => event.data)
    expect(events.at(-1)).toBe('[DONE]')
    expect(JSON.parse(events.at(-2) ?? '')).toMatchObject({
      id: 'c1',
      object: 'chat.completion.chunk',
      model: 'm',
      choices: [{ index: 0, delta: {}, finish_reason: 'length' }],
    })
    expect(estimate).toBeGreaterThan(20)
    expect(estimate).toBeLessThan(20 + estimateDelivered({ characters: [14, 0, 0, 0] }) + 1)
    expect(bytesOf(forwarded).length).toBeLessThan(bytesOf(endless).length / 4)
  })

  it('is ended for every candidate', () => {
    const { forwarded } = cutAt('openai-chat', endless, { candidates: 3, withholdUsage: true })
    const last = JSON.parse(parseSse(bytesOf(forwarded)).at(-2)?.data ?? '') as { choices: { index: number }[] }
    expect(last.choices.map((choice) => choice.index)).toEqual([0, 1, 2])
  })

  it('is not ended once it has ended, or has reported what it used', () => {
    const stream =
      chunk('x'.repeat(10), {
        usage: { prompt_tokens: 1, completion_tokens: 5, total_tokens: 6 },
        choices: [{ index: 0, delta: { content: 'word '.repeat(90) }, finish_reason: 'stop' }],
      }) + DONE
    const tap = tapFor('openai-chat', { maxOutputTokens: 20 })
    expect(through(tap, bytesOf(stream), [100])).toBe(stream)
    expect(tap.cut).toBe(false)
  })

  it('satisfies the OpenAI SDK', async () => {
    const { forwarded } = cutAt('openai-chat', endless, {})
    const openai = new OpenAI({ apiKey: 'k', maxRetries: 0, fetch: replying(forwarded) })
    const stream = openai.chat.completions.stream({ model: 'm', messages: [] })
    const final = await stream.finalChatCompletion()
    expect(final.choices[0]).toMatchObject({ finish_reason: 'length' })
    expect(final.choices[0]?.message.content).toMatch(/^word and word/)
  })

  it('satisfies the OpenAI SDK in a response', async () => {
    const [created, ...rest] = textOf(fixture('openai-responses.sse')).split(/(?<=\n\n)/)
    const delta = rest.find((event) => event.includes('"delta":"Hello"')) ?? ''
    const many = delta.replace('Hello', 'word and word ').repeat(100)
    const head = rest.slice(0, rest.indexOf(delta)).join('')
    const { forwarded } = cutAt('openai-responses', `${created}${head}${many}${rest.at(-1)}`, {})
    const openai = new OpenAI({ apiKey: 'k', maxRetries: 0, fetch: replying(forwarded) })
    const stream = openai.responses.stream({ model: 'gpt-5-nano', input: 'x' })
    const final = await stream.finalResponse()
    expect(final).toMatchObject({
      id: 'resp_fx01',
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
    })
    expect(final.output_text).toMatch(/^word and word/)
  })

  it('satisfies the Anthropic SDK', async () => {
    const events = textOf(fixture('anthropic.sse')).split(/(?<=\n\n)/)
    const delta = events.find((event) => event.includes('"text":"Hello"')) ?? ''
    const at = events.indexOf(delta)
    const many = [...events.slice(0, at), delta.replace('Hello', 'word and word ').repeat(100), ...events.slice(at + 1)]
    const { forwarded, estimate } = cutAt('anthropic-messages', many.join(''), {})
    const client = new Anthropic({ apiKey: 'k', maxRetries: 0, fetch: replying(forwarded) })
    const final = await client.messages.stream({ model: 'm', max_tokens: 9, messages: [] }).finalMessage()
    expect(final).toMatchObject({ stop_reason: 'max_tokens', usage: { output_tokens: Math.ceil(estimate) } })
    expect(final.content[0]).toMatchObject({ type: 'text', text: expect.stringMatching(/^word and word/) })
  })

  it('is ended in a list as well as in events, with Gemini', () => {
    const text = (content: string) => ({
      candidates: [{ content: { parts: [{ text: content }] }, index: 0 }],
      responseId: 'r',
      modelVersion: 'v',
    })
    const list = JSON.stringify(Array.from({ length: 100 }, () => text('word and word ')))
    const { forwarded } = cutAt('gemini-generate', list, {}, 100)
    const parsed = JSON.parse(forwarded) as unknown[]
    expect(parsed.length).toBeLessThan(20)
    expect(parsed.at(-1)).toMatchObject({
      candidates: [{ finishReason: 'MAX_TOKENS' }],
      responseId: 'r',
      modelVersion: 'v',
    })
    const stream = Array.from({ length: 100 }, () => `data: ${JSON.stringify(text('word and word '))}\r\n\r\n`).join('')
    const events = parseSse(bytesOf(cutAt('gemini-generate', stream, {}, 100).forwarded))
    expect(JSON.parse(events.at(-1)?.data ?? '')).toMatchObject({ candidates: [{ finishReason: 'MAX_TOKENS' }] })
  })
})
