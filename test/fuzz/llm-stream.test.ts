import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createEventScanner, HAS_TEXT } from '../../policies/llm/event-scan.ts'
import { createJsonReader } from '../../policies/llm/json-stream.ts'
import { PROTOCOLS, requireProtocol } from '../../policies/llm/protocols/index.ts'
import { createSseParser, parseSse } from '../../policies/llm/sse.ts'
import { createTap } from '../../policies/llm/tap-stream.ts'
import { inputOnly, mergeUsage, type Usage } from '../../policies/llm/usage.ts'
import { bytesOf, through } from '../policies/llm/support.ts'

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 })
const text = fc.string({
  unit: fc.constantFrom('a', '"', '\\', '{', '}', '[', ']', ':', ',', ' ', 'é', '门', '🚪', '\n', '\u0000'),
})
const eol = fc.constantFrom('\n', '\r\n', '\r')

const line = fc.oneof(
  fc.constantFrom(
    '',
    'data',
    'data:',
    'data: x',
    'data:x',
    'data:  y',
    ': note',
    ':',
    'event: e',
    'event:f',
    'event',
    'id: 1',
  ),
  fc.constantFrom('retry: 3', 'datax: 1', 'nonsense', ' data: z', 'data: {"usage":1}', 'data: ü🚀'),
)
const stream = fc
  .tuple(fc.constantFrom('', '\ufeff'), fc.array(fc.tuple(line, eol), { maxLength: 40 }), line)
  .map(([bom, lines, last]) => bom + lines.map(([one, end]) => one + end).join('') + last)

/** WHATWG's algorithm over the whole text at once, with a last event that lacks its blank line. */
function reference(whole: string): { type: string; data: string }[] {
  const events: { type: string; data: string }[] = []
  let data: string[] = []
  let type = ''
  for (const one of [...whole.replace(/^\ufeff/, '').split(/\r\n|\n|\r/), '']) {
    if (one === '') {
      if (data.length > 0) events.push({ type, data: data.join('\n') })
      data = []
      type = ''
      continue
    }
    const colon = one.indexOf(':')
    if (colon === 0) continue
    const name = colon === -1 ? one : one.slice(0, colon)
    const value = colon === -1 ? '' : one.slice(colon + 1).replace(/^ /, '')
    if (name === 'data') data.push(value)
    if (name === 'event') type = value
  }
  return events
}

describe('server-sent events', () => {
  it('are the same however the stream is cut', () => {
    fc.assert(
      fc.property(stream, sizes, (whole, cuts) => {
        const expected = reference(whole)
        const bytes = bytesOf(whole)
        expect(parseSse(bytes)).toEqual(expected)
        const events: { type: string; data: string }[] = []
        const parser = createSseParser({
          event(from, start, end, _offset, type) {
            events.push({ type, data: Buffer.from(from.subarray(start, end)).toString('utf8') })
            return false
          },
          block() {},
          dropped() {},
        })
        for (let at = 0, index = 0; at < bytes.length; index++) {
          const size = cuts[index % cuts.length] ?? 1
          parser.push(bytes.slice(at, at + size))
          at += size
        }
        parser.end()
        expect(events).toEqual(expected)
      }),
      { numRuns: 500 },
    )
  })
})

describe('a tap', () => {
  const choice = fc.record({ content: text, finished: fc.boolean() })
  const piece = fc.oneof(
    { weight: 6, arbitrary: choice.map((one) => ({ kind: 'text' as const, ...one })) },
    { weight: 2, arbitrary: fc.nat(500).map((output) => ({ kind: 'usage' as const, output })) },
    { weight: 1, arbitrary: fc.constant({ kind: 'comment' as const }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'junk' as const }) },
  )
  const render = (one: typeof piece extends fc.Arbitrary<infer T> ? T : never, end: string): string => {
    const base = { id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm' }
    if (one.kind === 'comment') return `: keep-alive${end}${end}`
    if (one.kind === 'junk') return `event: x${end}data: {"usage": not json${end}data: }${end}${end}`
    if (one.kind === 'usage') {
      const usage = { prompt_tokens: 7, completion_tokens: one.output, total_tokens: 7 + one.output }
      return `data: ${JSON.stringify({ ...base, choices: [], usage })}${end}${end}`
    }
    const choices = [{ index: 0, delta: { content: one.content }, finish_reason: one.finished ? 'stop' : null }]
    return `data: ${JSON.stringify({ ...base, choices, usage: null })}${end}${end}`
  }

  it('forwards everything but the withheld events, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), eol, sizes, fc.boolean(), (pieces, end, cuts, withhold) => {
        const protocol = requireProtocol('openai-chat')
        const whole = pieces.map((one) => render(one, end)).join('')
        const tap = createTap({ protocol: protocol.id, stream: true, withholdUsage: withhold }, protocol)
        const forwarded = through(tap, bytesOf(whole), cuts)
        expect(forwarded).toBe(pieces.map((one) => (withhold && one.kind === 'usage' ? '' : render(one, end))).join(''))
        const result = tap.result()
        let usage: Usage | undefined
        for (const one of pieces) {
          if (one.kind === 'text' && one.content !== '') usage = inputOnly(usage)
          if (one.kind === 'usage') usage = { inputTokens: 7, outputTokens: one.output }
        }
        expect(result.usage).toEqual(usage)
        const delivered = pieces.map((one) => (one.kind === 'text' ? one.content : '')).join('')
        expect(result.delivered?.characters ?? [0, 0, 0, 0]).toEqual(characters(delivered))
      }),
      { numRuns: 500 },
    )
  })

  it('forwards any bytes of any upstream unchanged', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), sizes, fc.constantFrom(...PROTOCOLS), (bytes, cuts, protocol) => {
        const tap = createTap({ protocol: protocol.id, stream: true, withholdUsage: false }, protocol)
        const out: Uint8Array[] = []
        for (let at = 0, index = 0; at < bytes.length; index++) {
          const size = cuts[index % cuts.length] ?? 1
          out.push(...tap.push(bytes.slice(at, at + size)))
          at += size
        }
        out.push(...tap.end())
        expect(Buffer.concat(out).equals(bytes)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  it('cut short leaves a stream that parses', () => {
    fc.assert(
      fc.property(
        fc.array(text, { minLength: 1, maxLength: 30 }),
        sizes,
        fc.integer({ min: 1, max: 20 }),
        (texts, cuts, most) => {
          const protocol = requireProtocol('openai-chat')
          const whole = texts.map((content) => render({ kind: 'text', content, finished: false }, '\n')).join('')
          const tap = createTap(
            { protocol: protocol.id, stream: true, withholdUsage: false, maxOutputTokens: most },
            protocol,
          )
          const events = parseSse(bytesOf(through(tap, bytesOf(whole), cuts)))
          for (const event of events) if (event.data !== '[DONE]') JSON.parse(event.data)
          if (tap.cut) expect(events.at(-1)?.data).toBe('[DONE]')
          else expect(events).toHaveLength(texts.length)
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('the scan of an event', () => {
  const key = fc.constantFrom(
    'content',
    'text',
    'delta',
    'usage',
    'usageMetadata',
    'type',
    'logprobs',
    'item',
    'x',
    'thinking',
    '',
  )
  const leaf = fc.oneof(
    text,
    fc.constant(null),
    fc.integer(),
    fc.boolean(),
    fc.constantFrom('message_stop', 'response.completed'),
  )
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      leaf,
      fc.array(tie('value'), { maxLength: 3 }),
      fc.array(fc.tuple(key, tie('value')), { maxLength: 4 }).map((entries) => Object.fromEntries(entries)),
    ),
  }))

  it('counts what a parse would find', () => {
    const spaced = fc.constantFrom(undefined, 1, '\t')
    fc.assert(
      fc.property(
        fc.array(fc.tuple(value, spaced), { maxLength: 8 }),
        fc.constantFrom(...PROTOCOLS),
        (events, protocol) => {
          // One scanner over all of them: what it remembers of one must not change what it sees in the next.
          const scanner = createEventScanner(protocol)
          let delivered = ''
          for (const [event, space] of [...events, ...events]) {
            const bytes = bytesOf(`##${JSON.stringify(event, null, space)}##`)
            const before = [...scanner.characters]
            const found = scanner.scan(bytes, 2, bytes.length - 2)
            const seen = protocol.eventText(event)
            delivered += seen
            expect([...scanner.characters]).toEqual(
              before.map((count, index) => count + (characters(seen)[index] ?? 0)),
            )
            expect((found & HAS_TEXT) !== 0).toBe(seen !== '')
            if (protocol.eventUsage(event) !== undefined) expect(found & 1).toBe(1)
            if (protocol.finalTypes.length > 0 && protocol.isFinalEvent(event)) expect(found & 2).toBe(2)
          }
          expect([...scanner.characters]).toEqual(characters(delivered))
        },
      ),
      { numRuns: 1500 },
    )
  })

  it('survives bytes that are no JSON', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...PROTOCOLS), (bytes, protocol) => {
        const scanner = createEventScanner(protocol)
        for (let end = 0; end <= bytes.length; end++) scanner.scan(bytes, 0, end)
        expect([...scanner.characters].every((count) => count >= 0)).toBe(true)
      }),
      { numRuns: 100 },
    )
  })
})

describe('a whole JSON reply', () => {
  it('gives the member that a parse would give', () => {
    const document = fc.dictionary(
      fc.constantFrom('usage', 'choices', 'a', 'b"', 'usage '),
      fc.jsonValue({ maxDepth: 3 }),
    )
    fc.assert(
      fc.property(document, sizes, fc.constantFrom(undefined, 2), (whole, cuts, space) => {
        const found: unknown[] = []
        let done = 0
        const reader = createJsonReader('usage', {
          member: (json) => found.push(JSON.parse(Buffer.from(json).toString('utf8'))),
          element: () => false,
          done: () => done++,
        })
        const bytes = bytesOf(JSON.stringify(whole, null, space))
        for (let at = 0, index = 0; at < bytes.length; index++) {
          const size = cuts[index % cuts.length] ?? 1
          reader.push(bytes.slice(at, at + size))
          at += size
        }
        expect(done).toBe(1)
        expect(found).toEqual('usage' in whole ? [JSON.parse(JSON.stringify(whole.usage))] : [])
      }),
      { numRuns: 400 },
    )
  })

  it('gives the elements that a parse would give', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue({ maxDepth: 2 }), { maxLength: 6 }), sizes, (list, cuts) => {
        const found: unknown[] = []
        const reader = createJsonReader('usage', {
          member() {},
          element(json) {
            found.push(JSON.parse(Buffer.from(json).toString('utf8')))
            return false
          },
          done() {},
        })
        const bytes = bytesOf(JSON.stringify(list))
        for (let at = 0, index = 0; at < bytes.length; index++) {
          const size = cuts[index % cuts.length] ?? 1
          reader.push(bytes.slice(at, at + size))
          at += size
        }
        const plain = JSON.parse(JSON.stringify(list)) as unknown[]
        expect(found).toEqual(plain.filter((item) => typeof item === 'object' && item !== null))
      }),
      { numRuns: 300 },
    )
  })
})

describe('mergeUsage', () => {
  const count = fc.option(fc.nat(), { nil: undefined })
  const usage = fc
    .record({
      inputTokens: count,
      cachedInputTokens: count,
      cacheCreationTokens: count,
      outputTokens: count,
      reasoningTokens: count,
    })
    .map((one) => Object.fromEntries(Object.entries(one).filter(([, value]) => value !== undefined)) as Usage)

  it('lets the later report win field by field, and never invents one', () => {
    fc.assert(
      fc.property(usage, usage, usage, (a, b, c) => {
        const merged: Usage = mergeUsage(a, b) ?? {}
        for (const field of Object.keys({ ...a, ...b }) as (keyof Usage)[])
          expect(merged[field]).toBe(b[field] ?? a[field])
        expect(Object.keys(merged).sort()).toEqual(Object.keys({ ...a, ...b }).sort())
        expect(mergeUsage(mergeUsage(a, b), c)).toEqual(mergeUsage(a, mergeUsage(b, c)))
        expect(mergeUsage(a, undefined)).toBe(a)
        expect(mergeUsage(undefined, a)).toBe(a)
      }),
    )
  })
})

/** Characters by their length in UTF-8; a lone surrogate has three bytes. */
function characters(of: string): number[] {
  const counts = [0, 0, 0, 0]
  for (const one of of) {
    const point = one.codePointAt(0) ?? 0
    const length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4
    counts[length - 1] = (counts[length - 1] ?? 0) + 1
  }
  return counts
}
