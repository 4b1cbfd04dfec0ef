import { describe, expect, it } from 'vitest'
import { editMembers } from '../../../policies/llm/json-edit.ts'
import { bodyOf, textOf } from './support.ts'

const edit = (text: string, ...edits: Parameters<typeof editMembers>[1]) => textOf(editMembers(bodyOf(text), edits))

describe('editMembers', () => {
  it.each([
    ['{"a":1,"b":2}', '{"a":7,"b":2}'],
    ['{ "a" : 1.5e3 , "b":2}', '{ "a" : 7 , "b":2}'],
    ['{"b":"\\u0061","a":{"x":[1]}}', '{"b":"\\u0061","a":7}'],
    ['{"a":null}', '{"a":7}'],
    ['{"\\u0061":1}', '{"\\u0061":7}'],
    ['{}', '{"a":7}'],
    [' {\n} ', ' {"a":7\n} '],
    ['{"b":2}', '{"b":2,"a":7}'],
    ['{"b":2\n}\n', '{"b":2,"a":7\n}\n'],
    ['{"b":"ü\\"}"}', '{"b":"ü\\"}","a":7}'],
  ])('sets a member of %s', (before, after) => {
    expect(edit(before, { path: ['a'], json: '7' })).toBe(after)
  })

  it.each([
    ['{"o":{"i":false,"j":1},"b":2}', '{"o":{"i":true,"j":1},"b":2}'],
    ['{"o":{"j":[1,2]}}', '{"o":{"j":[1,2],"i":true}}'],
    ['{"o":{}}', '{"o":{"i":true}}'],
    ['{"o": { } }', '{"o": {"i":true } }'],
    ['{"o":null}', '{"o":{"i":true}}'],
    ['{"b":2}', '{"b":2,"o":{"i":true}}'],
    ['{}', '{"o":{"i":true}}'],
  ])('sets a nested member of %s', (before, after) => {
    expect(edit(before, { path: ['o', 'i'], json: 'true' })).toBe(after)
  })

  it('makes several edits at once', () => {
    const edits = [
      { path: ['o', 'i'], json: 'true' },
      { path: ['n'], json: '1' },
      { path: ['new'], json: '"x"' },
      { path: ['o', 'k'], json: '3' },
      { path: ['q', 'r'], json: '{}' },
    ] as const
    expect(edit('{"n":100,"o":{"z":0}}', ...edits)).toBe('{"n":1,"o":{"z":0,"i":true,"k":3},"new":"x","q":{"r":{}}}')
  })

  it('returns the very bytes when there is nothing to edit', () => {
    const body = bodyOf('{"a":1}')
    expect(editMembers(body, [])).toBe(body.bytes)
  })
})
