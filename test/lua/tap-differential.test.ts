import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { estimateDelivered } from '../../policies/llm/estimate.ts'
import { requireProtocol } from '../../policies/llm/protocols/index.ts'
import type { TapPlan } from '../../policies/llm/tap.ts'
import { readReport, type TapResult } from '../../policies/llm/tap-report.ts'
import { createTap } from '../../policies/llm/tap-stream.ts'
import { tapWire } from '../../policies/llm/tap-wire.ts'
import { luajitMissing, runLua } from './support/luajit.ts'

/** A reply of one protocol, cut into pieces, and how it must be followed. */
interface Case {
  readonly plan: TapPlan
  readonly pieces: readonly Buffer[]
}

interface LuaResult {
  readonly out: string
  readonly report: { readonly fault?: string; readonly ended: string }
}

const text = fc.string({ unit: 'grapheme', maxLength: 12 })
const count = fc.nat(5000)
const index = fc.nat(2)

const openAi = fc
  .tuple(
    fc.array(fc.record({ text, index, tool: fc.boolean() }), { maxLength: 8 }),
    fc.option(fc.record({ prompt_tokens: count, completion_tokens: count }), { nil: undefined }),
    fc.boolean(),
    fc.array(text, { maxLength: 3 }),
  )
  .map(([deltas, usage, done, behind]) => [
    ...deltas.map((delta) => ({
      id: 'c-1',
      choices: [
        {
          index: delta.index,
          delta: delta.tool
            ? { tool_calls: [{ index: 0, function: { arguments: delta.text } }] }
            : { content: delta.text },
        },
      ],
      usage: null,
    })),
    ...(usage === undefined ? [] : [{ id: 'c-1', choices: [], usage }]),
    ...(done ? ['[DONE]'] : []),
    // An upstream that goes on behind its own end.
    ...behind.map((content) => ({ id: 'c-1', choices: [{ index: 0, delta: { content } }] })),
  ])

const anthropic = fc
  .tuple(
    count,
    fc.array(fc.record({ text, json: fc.boolean() }), { maxLength: 8 }),
    count,
    fc.boolean(),
    fc.array(text, { maxLength: 2 }),
  )
  .map(([input, deltas, output, stopped, behind]) => [
    { type: 'message_start', message: { id: 'm-1', content: [], usage: { input_tokens: input, output_tokens: 1 } } },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    ...deltas.map((delta) => ({
      type: 'content_block_delta',
      index: 0,
      delta: delta.json
        ? { type: 'input_json_delta', partial_json: delta.text }
        : { type: 'text_delta', text: delta.text },
    })),
    ...(stopped
      ? [
          { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: output } },
          { type: 'message_stop' },
        ]
      : []),
    ...behind.map((said) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: said } })),
  ])

const responses = fc
  .tuple(fc.array(text, { maxLength: 8 }), count, count)
  .map(([deltas, input, output]) => [
    { type: 'response.created', response: { id: 'r-1', usage: null } },
    ...deltas.map((delta) => ({ type: 'response.output_text.delta', delta })),
    { type: 'response.output_text.done', text: deltas.join('') },
    { type: 'response.completed', response: { id: 'r-1', usage: { input_tokens: input, output_tokens: output } } },
  ])

const gemini = fc.tuple(fc.array(text, { minLength: 1, maxLength: 8 }), count, count).map(([texts, input, output]) =>
  texts.map((piece, at) => ({
    candidates: [
      { content: { parts: [{ text: piece }] }, ...(at === texts.length - 1 ? { finishReason: 'STOP' } : {}) },
    ],
    usageMetadata: { promptTokenCount: input, ...(at === texts.length - 1 ? { candidatesTokenCount: output } : {}) },
    modelVersion: 'g-1',
  })),
)

type Events = readonly (object | string)[]

const framing = fc.record({
  ending: fc.constantFrom('\n', '\r\n', '\r'),
  comments: fc.boolean(),
  space: fc.boolean(),
  mark: fc.boolean(),
  /** How many of the last events never arrive. What is left of a broken event, only the TypeScript tap counts. */
  missing: fc.oneof(fc.constant(0), fc.nat(4)),
})
type Framing = typeof framing extends fc.Arbitrary<infer T> ? T : never

function sse(events: Events, { ending, comments, space, mark }: Framing): Buffer {
  const lines = events.flatMap((event) => [
    ...(comments ? [': ping', ''] : []),
    ...(typeof event === 'object' && 'type' in event ? [`event: ${event.type}`] : []),
    `data:${space ? ' ' : ''}${typeof event === 'string' ? event : JSON.stringify(event)}`,
    '',
  ])
  return Buffer.from(`${mark ? '\ufeff' : ''}${lines.map((line) => line + ending).join('')}`)
}

function cases(protocol: string, events: fc.Arbitrary<Events>, framed: 'sse' | 'array' = 'sse'): fc.Arbitrary<Case> {
  return fc
    .record({
      events,
      framing,
      cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 }),
      withhold: fc.boolean(),
      max: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
    })
    .map(({ events: list, framing: how, cuts, withhold, max }) => {
      const sent = list.slice(0, Math.max(0, list.length - how.missing))
      const broken = sent.length < list.length
      const array = `[${sent.map((event) => JSON.stringify(event, null, 1)).join(',\n')}${broken ? '' : ']'}`
      const bytes = framed === 'sse' ? sse(sent, how) : Buffer.from(array)
      const marks = [3, ...cuts.map((cut) => Math.max(3, Math.floor(cut * bytes.length)))].sort((a, b) => a - b)
      const pieces = [0, ...marks].map((from, at, all) => bytes.subarray(from, all[at + 1] ?? bytes.length))
      return {
        plan: {
          protocol,
          stream: true,
          withholdUsage: withhold && protocol === 'openai-chat',
          ...(max === undefined ? {} : { maxOutputTokens: max }),
        },
        pieces,
      }
    })
}

function inTypeScript({ plan, pieces }: Case) {
  const tap = createTap(plan, requireProtocol(plan.protocol))
  const out = [...pieces.flatMap((piece) => tap.push(piece)), ...tap.end()]
  return { out: Buffer.concat(out).toString(), result: tap.result() }
}

function inLua(all: readonly Case[]): readonly LuaResult[] {
  const lines = all.map(({ plan, pieces }) =>
    JSON.stringify({ plan: tapWire(plan), pieces: pieces.map((piece) => piece.toString('hex')) }),
  )
  const { status, output } = runLua(['support/drive-tap.lua'], `${lines.join('\n')}\n`)
  expect(status, output).toBe(0)
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LuaResult)
}

function isList({ pieces }: Case): boolean {
  return Buffer.concat([...pieces])
    .toString()
    .startsWith('[')
}

/** Gemini marks its last event by no type, so Lua may end a stream that just ended by itself: one event too much. */
function endsTwice({ plan }: Case, lua: TapResult, expected: TapResult): boolean {
  return plan.protocol === 'gemini-generate' && lua.cut && expected.sawFinal
}

/** Weights travel as sampled figures: within a token of the limit the two may differ by an event. */
function atTheEdge({ plan }: Case, characters: readonly number[] | undefined): boolean {
  if (plan.maxOutputTokens === undefined || characters === undefined) return false
  const [one = 0, two = 0, three = 0, four = 0] = characters
  return Math.abs(estimateDelivered({ characters: [one, two, three, four] }) - plan.maxOutputTokens) <= 1
}

/** Events that are too large to be read, or that never end. */
const HUGE = 'x'.repeat(1_200_000)
const unread: readonly (readonly [string, string, string])[] = [
  ['an event', 'openai-chat', `data: {"id":"c-1","choices":[{"delta":{"content":"${HUGE}"}}]}\n\ndata: [DONE]\n\n`],
  ['an event without an end', 'anthropic-messages', `data: {"type":"content_block_delta","delta":{"text":"${HUGE}`],
  ['a line that is no event', 'openai-responses', HUGE],
  ['an event of many lines', 'openai-chat', `data: ${'x\ndata: '.repeat(200_000)}`],
  ['a comment', 'openai-chat', `: ${HUGE}`],
  ['an element of a list', 'gemini-generate', `,{"candidates":[{"content":{"parts":[{"text":"${HUGE}`],
]
const FIRST: Readonly<Record<string, string>> = {
  'gemini-generate': '[{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"modelVersion":"g-1"}',
  'anthropic-messages': 'data: {"type":"content_block_delta","index":0,"delta":{"text":"a"}}\n\n',
}

describe.skipIf(luajitMissing)('an event that nobody can count', () => {
  test.each(unread)('%s ends the stream, and is not sent on', (_, protocol, rest) => {
    const first = FIRST[protocol] ?? 'data: {"id":"c-1","choices":[{"delta":{"content":"a"}}]}\n\n'
    const whole = Buffer.from(first + rest)
    const pieces = Array.from({ length: Math.ceil(whole.length / 60_000) }, (__, at) =>
      whole.subarray(at * 60_000, (at + 1) * 60_000),
    )
    const one: Case = { plan: { protocol, stream: true, withholdUsage: false, maxOutputTokens: 1_000_000 }, pieces }
    const expected = inTypeScript(one)
    const [lua] = inLua([one])
    expect(expected.result).toMatchObject({ cut: true, sawFinal: false })
    expect(lua?.report).toMatchObject({ ended: 'cut' })
    const sent = Buffer.from(lua?.out ?? '', 'hex').toString()
    if (protocol === 'gemini-generate') expect(sent.length).toBeLessThan(whole.length)
    else expect(sent).toBe(expected.out)
    if (protocol !== 'gemini-generate') expect(sent.startsWith(first) && sent.length < 2_000).toBe(true)
  })
})

describe.skipIf(luajitMissing)('the Lua tap does what the TypeScript tap does', () => {
  test.each([
    ['openai-chat', cases('openai-chat', openAi)],
    ['anthropic-messages', cases('anthropic-messages', anthropic)],
    ['openai-responses', cases('openai-responses', responses)],
    ['gemini-generate', cases('gemini-generate', gemini)],
    ['gemini-generate as a list', cases('gemini-generate', gemini, 'array')],
  ])('%s', (_, arbitrary) => {
    const all = fc.sample(arbitrary, 300)
    const results = inLua(all)
    let compared = 0
    for (const [at, one] of all.entries()) {
      const { out, report } = results[at] as LuaResult
      const expected = inTypeScript(one)
      const context = JSON.stringify({ plan: one.plan, pieces: one.pieces.map(String), report })
      expect(report.fault, context).toBeUndefined()
      const seen = readReport(one.plan.protocol, report)
      if (atTheEdge(one, seen.delivered?.characters) || endsTwice(one, seen, expected.result)) continue
      compared++
      expect(Buffer.from(out, 'hex').toString(), context).toBe(expected.out)
      // Without an end of its own, a protocol's stream ends with its connection: only the wire says so.
      const endless = report.ended === 'final' && tapWire(one.plan).final_types === undefined && !isList(one)
      expect(seen, context).toEqual(endless ? { ...expected.result, sawFinal: true } : expected.result)
    }
    expect(compared).toBeGreaterThan(100)
  })
})
