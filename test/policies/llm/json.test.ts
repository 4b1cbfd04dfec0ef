import { describe, expect, it } from 'vitest'
import { decisive, parseJsonBody, refuseLookalikes } from '../../../policies/llm/json.ts'
import { MAX_DEPTH, MAX_MEMBERS } from '../../../policies/llm/json-scan.ts'
import { bodyOf, bytesOf, refusalOf, textOf } from './support.ts'

describe('parseJsonBody', () => {
  it('gives the value and the byte ranges of its members', () => {
    const text = ' { "model" : "grün" ,\n"n":2,"list":[1,{"a":"}"}],"o":{"a":1} , "z":null}\n'
    const body = bodyOf(text)
    expect(body.value).toEqual({ model: 'grün', n: 2, list: [1, { a: '}' }], o: { a: 1 }, z: null })
    expect(body.members.map((member) => member.key)).toEqual(['model', 'n', 'list', 'o', 'z'])
    for (const member of body.members) {
      expect(JSON.parse(textOf(body.bytes.subarray(member.valueStart, member.valueEnd)))).toEqual(
        body.value[member.key],
      )
      expect(textOf(body.bytes.subarray(member.start)).startsWith(JSON.stringify(member.key))).toBe(true)
    }
  })

  it('gives no members for an empty object', () => {
    expect(bodyOf(' {} ').members).toEqual([])
  })

  it.each([
    ['nothing', ''],
    ['no JSON', 'hello'],
    ['a cut body', '{"model":"gpt-4o"'],
    ['a list', '[]'],
    ['a text', '"x"'],
    ['null', 'null'],
    ['two objects', '{}{}'],
    ['a trailing comma', '{"a":1,}'],
    ['a comment', '{/*x*/}'],
    ['NaN', '{"n":NaN}'],
    ['a raw control character', '{"a":"\n"}'],
    ['single quotes', "{'a':1}"],
  ])('refuses %s', (_, text) => {
    expect(refusalOf(() => bodyOf(text)).code).toBe('invalid_request')
  })

  it('refuses a byte order mark and invalid UTF-8', () => {
    expect(refusalOf(() => parseJsonBody(Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d))).message).toMatch(/byte order/)
    expect(refusalOf(() => parseJsonBody(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d))).message).toMatch(/UTF-8/)
    // An overlong slash, a lone surrogate.
    expect(refusalOf(() => parseJsonBody(Uint8Array.of(0x22, 0xc0, 0xaf, 0x22))).message).toMatch(/UTF-8/)
    expect(refusalOf(() => parseJsonBody(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22))).message).toMatch(/UTF-8/)
  })

  it('takes depth up to the cap, and survives any depth beyond', () => {
    const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
    expect(bodyOf(nested(MAX_DEPTH)).members).toHaveLength(1)
    expect(refusalOf(() => bodyOf(nested(MAX_DEPTH + 1))).message).toMatch(/deeper/)
    expect(refusalOf(() => bodyOf('['.repeat(5_000_000))).message).toMatch(/deeper/)
    expect(refusalOf(() => bodyOf('{"a":'.repeat(200_000))).message).toMatch(/deeper/)
    // Brackets in strings nest nothing.
    expect(bodyOf({ a: '['.repeat(1000), b: '\\"[['.repeat(500) }).members).toHaveLength(2)
  })

  it('takes as many members as a request ever has, and no more', () => {
    const members = (count: number) => `{${Array.from({ length: count }, (_, index) => `"k${index}":0`).join(',')}}`
    expect(bodyOf(members(MAX_MEMBERS)).members).toHaveLength(MAX_MEMBERS)
    expect(refusalOf(() => bodyOf(members(MAX_MEMBERS + 2))).message).toMatch(/more than 1024 fields/)
  })

  it('finds the end of a long text, whatever is escaped in it', () => {
    const x = 'x'.repeat(60)
    const slash = String.fromCharCode(92)
    for (const text of [
      slash.repeat(501),
      `${x}${slash}`,
      `${x}${slash.repeat(2)}"`,
      '"'.repeat(200),
      `é"${slash}`.repeat(99),
    ]) {
      const body = bodyOf({ before: text, after: [text, { [text]: text }] })
      expect(body.members.map(({ key }) => key)).toEqual(['before', 'after'])
    }
  })

  it('never repeats a value', () => {
    const secret = 'sk-very-secret'
    for (const text of [
      `{"a":"${secret}"`,
      `{"a":"${secret}"}${secret}`,
      `"${secret}"`,
      `{"${secret} is long":1,"${secret} is long":2}`,
      `{"a":[{"${secret}":1,"${secret}":1}]}`,
    ])
      expect(refusalOf(() => bodyOf(text)).message).not.toContain(secret)
  })
})

describe('duplicate keys', () => {
  it.each([
    ['twice', '{"model":"a","model":"b"}', /"model" twice/],
    ['twice, once escaped', '{"model":"a","mod\\u0065l":"b"}', /"model" twice/],
    ['twice, both escaped', '{"\\u006dodel":"a","mod\\u0065l":"b"}', /"model" twice/],
    ['far apart', `{"max_tokens":5,"pad":"${'x'.repeat(5000)}","max_tokens":50000}`, /"max_tokens" twice/],
    ['inside', '{"stream_options":{"include_usage":true,"include_usage":false}}', /inside "stream_options"/],
    ['deep inside', '{"messages":[{"content":[{"text":"a","text":"b"}]}]}', /inside "messages"/],
    ['of a value that is the same', '{"n":1,"n":1}', /"n" twice/],
    ['empty', '{"":1,"":2}', /a key twice/],
  ])('are refused: %s', (_, text, message) => {
    expect(refusalOf(() => bodyOf(text)).message).toMatch(message)
  })

  it('are refused among many keys', () => {
    const many = Array.from({ length: 5000 }, (_, index) => `"k${index}":${index}`)
    expect(bodyOf(`{"a":{${many.join(',')}}}`).members).toHaveLength(1)
    expect(refusalOf(() => bodyOf(`{"a":{${many.join(',')},"k17":0}}`)).message).toMatch(/inside "a"/)
    const fewer = many.slice(0, MAX_MEMBERS - 1)
    expect(refusalOf(() => bodyOf(`{${fewer.join(',')},"k17":0}`)).message).toMatch(/"k17" twice/)
  })

  it('are only those of one object', () => {
    expect(bodyOf('{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}],"c":"a"}').members).toHaveLength(3)
  })

  it('are told apart from keys that only have the same hash', () => {
    // 31 * 'A' + 'a' = 31 * 'B' + 'B'
    expect(bodyOf('{"Aa":1,"BB":2,"AaAa":3,"BBBB":4,"AaBB":5,"BBAa":6}').members).toHaveLength(6)
  })

  it('takes time in proportion to the body, keys that collide included', () => {
    const pair = ['Aa', 'BB']
    const colliding = (index: number) => Array.from({ length: 12 }, (_, bit) => pair[(index >> bit) & 1]).join('')
    const keys = Array.from({ length: 4096 }, (_, index) => `"${colliding(index)}":0`)
    expect(bodyOf(`{"a":{${keys.join(',')}}}`).members).toHaveLength(1)
    expect(refusalOf(() => bodyOf(`{"a":{${keys.join(',')},${keys[77]}}}`)).message).toMatch(/inside "a"/)
  })
})

describe('refuseLookalikes', () => {
  const names = decisive('model', 'max_tokens', 'stream', 'tasks', 'maxOutputTokens')

  it.each([
    'Model',
    'MODEL',
    'max_tokenſ',
    'max_toKens',
    '\u017ftream',
    'tas\u212as',
    'maxoutputtokens',
    'model ',
    '\tStream\n',
    'model\u0000',
    'model\u0000x',
  ])('refuses %j', (key) => {
    expect(refusalOf(() => refuseLookalikes({ [key]: 1 }, names)).message).toMatch(/spelled differently/)
  })

  it('takes the names themselves, and names that are others', () => {
    refuseLookalikes({ model: 1, max_tokens: 1, maxOutputTokens: 2, modell: 1, 'mo del': 1, mødel: 1, ıd: 1 }, names)
  })
})

describe('hostile members', () => {
  it('stay data', () => {
    const body = parseJsonBody(bytesOf('{"__proto__":{"model":"x"},"constructor":1,"toString":2}'))
    expect(Object.keys(body.value)).toEqual(['__proto__', 'constructor', 'toString'])
    expect(body.value.model).toBeUndefined()
  })
})
