import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RefusedRead } from '../../policies/errors.ts'
import { fillTemplate } from '../../policies/llm/final-template.ts'
import { type JsonBody, parseJsonBody } from '../../policies/llm/json.ts'
import { editMembers, type MemberEdit } from '../../policies/llm/json-edit.ts'
import { recognise } from '../../policies/llm/operations.ts'
import type { LlmCall, Operation, Protocol } from '../../policies/llm/protocol.ts'
import { PROTOCOLS } from '../../policies/llm/protocols/index.ts'
import { parseSse } from '../../policies/llm/sse.ts'
import { bytesOf, textOf } from '../policies/llm/support.ts'

/** What `work` gives, or undefined when it refuses; anything else it throws fails the test. */
function unlessRefused<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof RefusedRead) return undefined
    throw error
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const space = fc.constantFrom('', ' ', '\n', '\t ', '\r\n')

/** JSON text of a value with white space anywhere. */
function render(value: unknown, pad: string): string {
  if (Array.isArray(value)) return `[${pad}${value.map((item) => render(item, pad)).join(`${pad},`)}${pad}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).map(([key, member]) => `${JSON.stringify(key)}${pad}:${render(member, pad)}`)
  return `{${members.join(`${pad},${pad}`)}${pad}}`
}

describe('parseJsonBody', () => {
  const object = fc.dictionary(fc.string({ maxLength: 4 }), fc.jsonValue({ maxDepth: 3 }))

  it('reads what JSON.parse reads, and finds every member where it is', () => {
    fc.assert(
      fc.property(object, space, (value, pad) => {
        const text = pad + render(value, pad) + pad
        const body = parseJsonBody(bytesOf(text))
        expect(body.value).toEqual(JSON.parse(text))
        expect(body.members.map((member) => member.key)).toEqual(Object.keys(value))
        for (const member of body.members) {
          const raw = textOf(body.bytes.subarray(member.valueStart, member.valueEnd))
          expect(raw).toBe(raw.trim())
          expect(JSON.parse(raw)).toEqual(body.value[member.key])
        }
      }),
      { numRuns: 500 },
    )
  })

  it('takes or refuses any bytes as JSON.parse does', () => {
    const nearly = object.chain((value) => {
      const text = JSON.stringify(value)
      return fc
        .tuple(fc.nat(text.length), fc.constantFrom('', '"', '\\', '{', ']', ',', '\u0000', 'x'))
        .map(([at, junk]) => text.slice(0, at) + junk + text.slice(at + 1))
    })
    fc.assert(
      fc.property(fc.oneof(nearly, fc.string()), (text) => {
        const body = unlessRefused(() => parseJsonBody(bytesOf(text)))
        const value = parsed(text)
        if (body !== undefined) expect(body.value).toEqual(value)
        else if (typeof value === 'object' && value !== null && !Array.isArray(value))
          // The only valid objects that it refuses have a key twice somewhere.
          expect(JSON.stringify(value).length).toBeLessThan(text.replaceAll(/\s/g, '').length)
      }),
      { numRuns: 1000 },
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        unlessRefused(() => parseJsonBody(bytes))
      }),
    )
  })

  it('refuses a duplicate at any depth, however it is written', () => {
    const escaped = (key: string) =>
      [...key].map((one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')
    const wrap = fc.constantFrom(
      (inner: string) => inner,
      (inner: string) => `{"a":${inner}}`,
      (inner: string) => `{"a":[1,${inner}]}`,
    )
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.stringMatching(/^[a-z]{1,3}$/), { minLength: 1, maxLength: 30 }),
        fc.nat(),
        wrap,
        fc.boolean(),
        (keys, pick, around, escaping) => {
          const entries = keys.map((key) => `"${key}":1`)
          unlessRefused(() => parseJsonBody(bytesOf(around(`{${entries.join(',')}}`)))) ?? expect.fail('was refused')
          const twice = keys[pick % keys.length] as string
          entries.push(`"${escaping ? escaped(twice) : twice}":2`)
          expect(unlessRefused(() => parseJsonBody(bytesOf(around(`{${entries.join(',')}}`))))).toBeUndefined()
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('editMembers', () => {
  const keys = ['a', 'b', 'o', 'p'] as const
  const members = fc.dictionary(
    fc.constantFrom(...keys, 'x', 'ü'),
    fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.dictionary(fc.constantFrom('i', 'j'), fc.integer())),
  )
  const edit = fc.oneof(
    fc.record({ path: fc.constantFrom<readonly [string]>(['a'], ['b']), value: fc.integer() }),
    fc.record({
      path: fc.constantFrom<readonly [string, string]>(['o', 'i'], ['o', 'k'], ['p', 'j']),
      value: fc.integer(),
    }),
  )

  it('gives what the edits say, and the very bytes of all else', () => {
    fc.assert(
      fc.property(members, space, fc.array(edit, { maxLength: 5 }), (value, pad, edits) => {
        const body = parseJsonBody(bytesOf(pad + render(value, pad) + pad))
        const expected = structuredClone(body.value) as Record<string, unknown>
        for (const { path, value: to } of edits) {
          const [key, inner] = path
          const inside = expected[key]
          if (inner === undefined) expected[key] = to
          else expected[key] = { ...(typeof inside === 'object' && !Array.isArray(inside) ? inside : {}), [inner]: to }
        }
        const list: MemberEdit[] = edits.map(({ path, value: to }) => ({ path, json: JSON.stringify(to) }))
        const after = parseJsonBody(editMembers(body, list))
        expect(after.value).toEqual(expected)
        const touched = new Set(edits.map(({ path }) => path[0]))
        for (const member of body.members.filter(({ key }) => !touched.has(key)))
          expect(raw(after, member.key)).toBe(raw(body, member.key))
        expect(after.members.map(({ key }) => key).slice(0, body.members.length)).toEqual(
          body.members.map(({ key }) => key),
        )
      }),
      { numRuns: 500 },
    )
  })
})

function raw(body: JsonBody, key: string): string {
  const member = body.members.find((one) => one.key === key)
  return member === undefined ? '' : textOf(body.bytes.subarray(member.start, member.valueEnd))
}

describe('every protocol', () => {
  const odd: fc.Arbitrary<unknown> = fc.oneof(
    fc.constantFrom(null, true, 'true', '5', [], {}, ['x'], [1, 2], [[1], [2]]),
    fc.constantFrom(-1, 1.5, 1e308, Number.MAX_SAFE_INTEGER),
    fc.string({ maxLength: 3 }),
  )
  /** Mostly what an API takes, at times something odd. */
  const mostly = (arbitrary: fc.Arbitrary<unknown>) =>
    fc.oneof({ weight: 25, arbitrary }, { weight: 1, arbitrary: odd })
  const number = mostly(fc.oneof(fc.nat(100_000), fc.constantFrom(0, 1, 1e9)))
  const count = mostly(fc.integer({ min: 1, max: 5 }))
  const model = fc.constantFrom('gpt-4o', 'o3', 'claude-opus-5', 'mistral-large-latest')
  const type = fc.constantFrom(
    'text',
    'image_url',
    'input_file',
    'document',
    'tool_use',
    'tool_result',
    'thinking',
    'x',
  )
  const anything = fc.oneof(odd, fc.string())
  const part = fc.record(
    {
      type,
      text: anything,
      content: anything,
      source: anything,
      input: anything,
      file: anything,
      inlineData: anything,
    },
    { requiredKeys: [] },
  )
  const parts = fc.oneof(fc.string(), fc.array(part, { maxLength: 3 }), odd)
  const turn = fc.record({ role: anything, content: parts, parts, tool_calls: odd }, { requiredKeys: [] })
  const turns = mostly(fc.array(turn, { maxLength: 3 }))
  const config = fc.record(
    { maxOutputTokens: number, candidateCount: count, thinkingConfig: odd },
    { requiredKeys: [] },
  )
  const required = { model: mostly(model), messages: turns, contents: turns }
  const optional = {
    input: mostly(fc.oneof(fc.string(), fc.array(fc.string()))),
    prompt: mostly(fc.oneof(fc.string(), fc.array(fc.string()), fc.array(fc.nat()))),
    models: mostly(fc.array(model)),
    content: parts,
    requests: mostly(fc.constant([])),
    system: parts,
    stream: mostly(fc.boolean()),
    stream_options: mostly(fc.record({ include_usage: mostly(fc.boolean()) })),
    n: count,
    best_of: count,
    max_tokens: number,
    max_completion_tokens: number,
    max_output_tokens: number,
    generationConfig: mostly(config),
    generation_config: odd,
    thinking: mostly(fc.record({ type: anything, budget_tokens: number })),
    fallbacks: mostly(fc.array(fc.record({ model, max_tokens: number }), { maxLength: 2 })),
    tools: mostly(fc.array(fc.record({ type: anything, name: anything }))),
    background: mostly(fc.boolean()),
    unknown: anything,
  }
  const body = fc
    .tuple(
      fc.record(required),
      fc.record(optional, { requiredKeys: [] }),
      fc.subarray(Object.keys(optional), { maxLength: 6 }),
    )
    .map(([must, may, kept]) => ({
      ...must,
      ...Object.fromEntries(Object.entries(may).filter(([key]) => kept.includes(key))),
    }))
  /** Gemini's model is in the path, and a body must not name another. */
  const jsonFor = (value: object, protocol: Protocol) =>
    parseJsonBody(bytesOf(JSON.stringify(protocol.id.startsWith('gemini') ? { ...value, model: undefined } : value)))
  const operationOf = (protocol: Protocol): Operation => ({
    name: 'chat',
    read: false,
    protocol,
    ...(protocol.id.startsWith('gemini') ? { model: 'gemini-2.5-flash', stream: true } : {}),
  })

  it('understands a body or refuses it, and never fails', () => {
    let understood = 0
    fc.assert(
      fc.property(body, fc.constantFrom(...PROTOCOLS), (value, protocol) => {
        const json = jsonFor(value, protocol)
        const call = unlessRefused(() => protocol.read(json, operationOf(protocol)))
        if (call === undefined) return
        understood++
        expect(call.candidates).toBeGreaterThanOrEqual(1)
        expect(Number.isSafeInteger(call.candidates)).toBe(true)
        expect(
          call.declaredOutput === undefined || (Number.isSafeInteger(call.declaredOutput) && call.declaredOutput > 0),
        ).toBe(true)
        expect(call.input.texts.every((text) => typeof text === 'string' && text !== '')).toBe(true)
      }),
      { numRuns: 2500 },
    )
    expect(understood).toBeGreaterThan(1000)
  })

  it('forwards a body that declares no more than it was told to', () => {
    fc.assert(
      fc.property(body, fc.constantFrom(...PROTOCOLS), fc.integer({ min: 1, max: 5000 }), (value, protocol, room) => {
        const json = jsonFor(value, protocol)
        const call: LlmCall | undefined = unlessRefused(() => protocol.read(json, operationOf(protocol)))
        if (call === undefined || !call.generates || call.candidates > room) return
        const edited = parseJsonBody(
          protocol.edit(json, call, { maxOutputTokens: room, includeUsage: call.needsUsageSwitch }),
        )
        const after = protocol.read(edited, operationOf(protocol))
        // Anthropic's zero generates nothing, and is left as it is.
        if (!(protocol.id === 'anthropic-messages' && json.value.max_tokens === 0))
          expect(after.declaredOutput).toBeDefined()
        expect(after.declaredOutput ?? 0).toBeLessThanOrEqual(room)
        expect(after.needsUsageSwitch).toBe(false)
        expect({ ...after, declaredOutput: 0, needsUsageSwitch: false }).toEqual({
          ...call,
          declaredOutput: 0,
          needsUsageSwitch: false,
        })
      }),
      { numRuns: 2500 },
    )
  })

  it('reads any reply and any event without failing', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(...PROTOCOLS), (value, protocol) => {
        protocol.replyUsage(value)
        protocol.eventUsage(value)
        protocol.isUsageEvent(value)
        protocol.isFinalEvent(value)
        protocol.eventText(value)
      }),
      { numRuns: 500 },
    )
  })

  it('ends a stream in events that parse, whatever the stream said', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.jsonValue(),
        fc.integer({ min: 1, max: 1e9 }),
        fc.constantFrom(...PROTOCOLS),
        (first, last, candidates, protocol) => {
          const filled = fillTemplate(protocol.finalTemplate(candidates), { first, last, tokens: 3.2 })
          for (const event of parseSse(bytesOf(filled))) if (event.data !== '[DONE]') JSON.parse(event.data)
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('recognise', () => {
  it('knows a path or refuses it, and never fails', () => {
    const segment = fc.constantFrom(
      'v1',
      'v1beta',
      'chat',
      'completions',
      'models',
      'x:generateContent',
      '..',
      '.',
      '',
      '%2f',
      'a%',
      'é',
      '{model}',
      '(a+)+$',
    )
    fc.assert(
      fc.property(
        fc.array(segment, { maxLength: 8 }),
        fc.constantFrom('GET', 'POST', 'HEAD', 'x'),
        (segments, method) => {
          unlessRefused(() => recognise(method, `/${segments.join('/')}`))
        },
      ),
    )
    fc.assert(fc.property(fc.string(), (path) => void unlessRefused(() => recognise('POST', path))))
    unlessRefused(() => recognise('POST', `/v1beta/models/${'a'.repeat(1_000_000)}`))
  })
})
