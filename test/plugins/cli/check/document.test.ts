import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_FILE_BYTES, Places, readDocument } from '../../../../plugins/cli/check/document.ts'
import { PortcullisError } from '../../../../policies/errors.ts'

function read(content: string) {
  const places = new Places()
  return { value: readDocument(content, 'kong.yml', places), places }
}

function refusal(content: string): string {
  try {
    read(content)
  } catch (error) {
    if (error instanceof PortcullisError && error.code === 'unreadable_file') return error.message
    throw error
  }
  throw new Error('it was read')
}

describe('readDocument', () => {
  it('reads YAML and JSON, and knows the line of every member', () => {
    const { value, places } = read('a: 1\nb:\n  - c: x\n    d: [1, 2]\n')
    expect(value).toEqual({ a: 1, b: [{ c: 'x', d: [1, 2] }] })
    const list = (value as { b: [{ c: string; d: number[] }] }).b
    expect(places.of(list[0], 'd')).toEqual({ file: 'kong.yml', line: 4 })
    expect(places.of(list[0])).toEqual({ file: 'kong.yml', line: 3 })
    expect(read('{"a": {"b": null}}').value).toEqual({ a: { b: null } })
  })

  it('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        const text = JSON.stringify(value)
        expect(JSON.parse(JSON.stringify(read(text).value))).toEqual(JSON.parse(text))
      }),
      { numRuns: 200 },
    )
  })

  it('follows anchors and merge keys, the own member first', () => {
    const { value } = read('x: &base {a: 1, b: 2}\ny: {<<: *base, b: 3}\nz: *base\n')
    expect(value).toEqual({ x: { a: 1, b: 2 }, y: { a: 1, b: 3 }, z: { a: 1, b: 2 } })
  })

  // What Kong 3.9.1's lyaml made of them.
  it.each<[string, unknown]>([
    ['017', 15],
    ['-017', -15],
    ['08', 8],
    ['1_000', 1000],
    ['+1_000', 1000],
    ['0.5_1', 0.51],
    ['0x1_F', 31],
    ['0b11', 3],
    ['0x', '0x'],
    ['1.2.3', '1.2.3'],
    ['2001-01-01', '2001-01-01'],
    ['0', 0],
    ['"017"', '017'],
    ['"yes"', 'yes'],
    ['! yes', true],
    ['!!bool "no"', false],
    ['!!bool n', false],
    ['n', 'n'],
    ['!!str yes', 'yes'],
    ['!!str 017', '017'],
    ['!!int 0x10', 16],
  ])('reads %s as Kong does', (text, value) => {
    expect(read(`a: ${text}\n`).value).toEqual({ a: value })
  })

  it('keeps a key such as __proto__ from meaning anything', () => {
    const { value } = read('__proto__: {polluted: 1}\n')
    expect(Object.getPrototypeOf(value)).toBeNull()
    expect(({} as { polluted?: number }).polluted).toBeUndefined()
  })

  it.each([
    [
      'a bomb',
      `a: &a [x,x,x,x,x,x,x,x,x,x]\n${'bcdefghi'.replace(
        /./g,
        (name) =>
          `${name}: &${name} [${Array(10)
            .fill(`*${String.fromCharCode(name.charCodeAt(0) - 1)}`)
            .join()}]\n`,
      )}`,
    ],
    ['a cycle', 'a: &a\n  b: *a\n'],
    ['a cycle that grows', 'a: &a [*a, *a]\n'],
    ['a cycle of merges', 'a: &a\n  <<: *a\n'],
    ['depth', '['.repeat(20_000)],
    ['depth in maps', `${'{a: '.repeat(5_000)}1${'}'.repeat(5_000)}`],
    ['an unknown anchor', 'a: *nobody\n'],
    ['a key twice', 'a: 1\na: 2\n'],
    ['two documents', 'a: 1\n---\nb: 2\n'],
    ['a key that is a list', '? [a, b]\n: 1\n'],
    ['nothing', ''],
    ['a tab', 'a:\n\t- b\n'],
  ])('refuses %s', (_, content) => {
    expect(refusal(content)).toMatch(/^kong\.yml(:\d+)?: /)
  })

  it('refuses more than it will read', () => {
    expect(refusal(`a: ${'x'.repeat(MAX_FILE_BYTES)}`)).toContain('larger than')
  })

  it('quotes nothing of a file that it cannot read', () => {
    const secret = 'sk-live-9f8Q2mZx7LkV4bN1'
    for (const content of [`key: "${secret}\n`, `a: 1\n a: ${secret}\n  - b`, `${secret}: {`, `*${secret}`])
      expect(refusal(content)).not.toContain(secret)
  })

  it('never throws anything else', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'[]{}:-&*<!|>"\'#,? \n\tab1') }), (content) => {
        try {
          read(content)
        } catch (error) {
          expect(error).toBeInstanceOf(PortcullisError)
        }
      }),
      { numRuns: 1000 },
    )
  })
})
