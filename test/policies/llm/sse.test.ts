import { describe, expect, it } from 'vitest'
import { createSseParser, MAX_EVENT_BYTES, parseSse, type SseEvent } from '../../../policies/llm/sse.ts'
import { bytesOf } from './support.ts'

const parse = (text: string) => parseSse(bytesOf(text))
const data = (text: string) => parse(text).map((event) => event.data)

/** Events and how often each kind of block was told, with the stream cut at `size`. */
function parseInPieces(stream: Uint8Array, size: number) {
  const events: SseEvent[] = []
  let blocks = 0
  let dropped = 0
  const parser = createSseParser({
    event(bytes, start, end, _offset, type) {
      events.push({ type, data: Buffer.from(bytes.subarray(start, end)).toString('utf8') })
      return false
    },
    block() {
      blocks++
    },
    dropped() {
      dropped++
    },
  })
  for (let at = 0; at < stream.length; at += size) parser.push(stream.subarray(at, at + size))
  parser.end()
  return { events, blocks, dropped }
}

describe('parseSse', () => {
  it.each([
    ['data: a\n\ndata: b\n\n', ['a', 'b']],
    ['data: a\r\n\r\ndata: b\r\n\r\n', ['a', 'b']],
    ['data: a\r\rdata: b\r\r', ['a', 'b']],
    ['data: a\r\n\ndata: b\n\r\n', ['a', 'b']],
    ['data:a\n\n', ['a']],
    ['data:  a\n\n', [' a']],
    ['data\n\n', ['']],
    ['data:\n\n', ['']],
    ['data: a\ndata: b\n\n', ['a\nb']],
    ['data\ndata\n\n', ['\n']],
    ['data: a\ndata:\ndata: c\n\n', ['a\n\nc']],
    [': comment\n\ndata: a\n\n', ['a']],
    ['data: a\n: comment\ndata: b\n\n', ['a\nb']],
    ['id: 1\nretry: 5\nunknown: x\ndata: a\n\n', ['a']],
    ['event: x\n\n', []],
    ['datax: a\n\n', []],
    ['Data: a\n\n', []],
    [' data: a\n\n', []],
    ['\n\n\ndata: a\n\n', ['a']],
    ['\ufeffdata: a\n\n', ['a']],
    ['\ufeff\ufeffdata: a\n\n', []],
    ['data: \ufeffa\n\n', ['\ufeffa']],
    ['data: a: b\n\n', ['a: b']],
    ['data: grün 🚀\n\n', ['grün 🚀']],
    ['data: a\u2028b\u0085c\n\n', ['a\u2028b\u0085c']],
    // The last event counts without its blank line, and even without its line end.
    ['data: a\n', ['a']],
    ['data: a', ['a']],
    ['', []],
  ])('reads %j', (stream, expected) => {
    expect(data(stream)).toEqual(expected)
  })

  it('keeps the type of an event, and only of that one', () => {
    expect(parse('event: ping\ndata: 1\n\ndata: 2\n\nevent:x\nevent: y\ndata: 3\n\n')).toEqual([
      { type: 'ping', data: '1' },
      { type: '', data: '2' },
      { type: 'y', data: '3' },
    ])
  })
})

describe('an event over the cap', () => {
  const huge = 'x'.repeat(MAX_EVENT_BYTES + 1)

  it.each([1000, 65_536, 3_000_000])('is dropped, and nothing else, in pieces of %i', (size) => {
    const stream = bytesOf(`data: before\n\ndata: ${huge}\ndata: more\n\ndata: after\n\n`)
    const { events, dropped } = parseInPieces(stream, size)
    expect(events.map((event) => event.data)).toEqual(['before', 'after'])
    expect(dropped).toBe(1)
  })

  it('is one whose lines add up to it', () => {
    const lines = `data: ${'x'.repeat(1000)}\n`.repeat(1100)
    expect(parseInPieces(bytesOf(`${lines}\ndata: after\n\n`), 4096)).toMatchObject({
      events: [{ data: 'after' }],
      dropped: 1,
    })
  })

  it('may be one byte below it', () => {
    expect(data(`data: ${'x'.repeat(MAX_EVENT_BYTES - 7)}\n\n`)[0]).toHaveLength(MAX_EVENT_BYTES - 7)
  })

  it('may be the last one, and have no end', () => {
    expect(parseInPieces(bytesOf(`data: a\n\ndata: ${huge}`), 10_000)).toMatchObject({
      events: [{ data: 'a' }],
      dropped: 1,
    })
  })
})

describe('blocks without data', () => {
  it('are told, so that their bytes can be passed on', () => {
    expect(parseInPieces(bytesOf(': keep-alive\n\n: keep-alive\n\ndata: a\n\n'), 5)).toMatchObject({ blocks: 2 })
  })
})
