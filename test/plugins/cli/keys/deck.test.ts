import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { readDeck } from '../../../../plugins/cli/keys/backends/deck-document.ts'
import { type DeckEdit, editDeck } from '../../../../plugins/cli/keys/backends/deck-edit.ts'

const PATH = 'kong.yml'

const FILE = `# All of it
_format_version: "3.0"   # of the format

services:
  - name: llm
    url: http://model:8081
    routes: [{ name: llm,paths: ["/v1"] }]

consumers:
  # Alice, of the first floor
  - username: alice
    tags: [ gold,first ]
    keyauth_credentials:
      # her laptop
      - key: alice-old-key   # from 2024
        tags:
          - mine # as she says
      - key: 'second'
  - username: bob
    custom_id: b
# the end
`

const added = { key: 'pc_new', tags: ['pc-id:1', 'pc-issued:2026-01-01T00:00:00Z', 'pc-staged'] }

function edit(text: string, make: (file: ReturnType<typeof readDeck>) => readonly DeckEdit[]): string {
  const file = readDeck(text, PATH)
  return editDeck(file, make(file), PATH).text
}

const at = (file: ReturnType<typeof readDeck>, index: number) => {
  const found = file.credentials[index]
  if (found === undefined) throw new Error('no such credential')
  return found
}

describe('editDeck', () => {
  it('puts a credential beside another, and touches no other line', () => {
    const text = edit(FILE, (file) => [{ type: 'after', credential: at(file, 0), added }])
    expect(text).toBe(
      FILE.replace(
        '          - mine # as she says\n',
        '          - mine # as she says\n      - key: pc_new\n        tags: ["pc-id:1", "pc-issued:2026-01-01T00:00:00Z", pc-staged]\n',
      ),
    )
  })

  it('changes tags where they are', () => {
    const text = edit(FILE, (file) => [{ type: 'tags', credential: at(file, 0), tags: ['mine', 'pc-retired'] }])
    expect(text).toBe(
      FILE.replace('# as she says\n', '# as she says\n          - pc-retired\n').replace('key   #', 'key #'),
    )
  })

  it('keeps what is written about a credential that goes', () => {
    const text = edit(FILE, (file) => [{ type: 'remove', credential: at(file, 0) }])
    expect(text).not.toContain('alice-old-key')
    for (const comment of ['# her laptop', '# from 2024', '# as she says']) expect(text).toContain(comment)
    expect(readDeck(text, PATH).credentials.map(({ key }) => key)).toEqual(['second'])
  })

  it('leaves an empty list where the last one goes', () => {
    const text = edit(FILE, (file) => [
      { type: 'remove', credential: at(file, 0) },
      { type: 'remove', credential: at(file, 1) },
    ])
    expect(
      (parse(text) as { consumers: { keyauth_credentials: unknown }[] }).consumers[0]?.keyauth_credentials,
    ).toEqual([])
    for (const comment of ['# All of it', '# of the format', '# her laptop', '# the end'])
      expect(text).toContain(comment)
  })

  it.each([
    ['alice', 'who has some', "      - key: 'second'\n      - key: pc_new\n"],
    ['bob', 'who has none', '    custom_id: b\n    keyauth_credentials:\n      - key: pc_new\n'],
    ['b', 'by another name', '    custom_id: b\n    keyauth_credentials:\n      - key: pc_new\n'],
  ])('adds one to %s, %s', (consumer, _, lines) => {
    const text = edit(FILE, () => [{ type: 'add', consumer, added }])
    expect(text).toContain(lines)
    const without = text.split('\n').filter((line) => FILE.includes(line))
    expect(FILE.split('\n').every((line) => without.includes(line))).toBe(true)
  })

  it.each([
    ['a flow list', 'consumers: [{ username: a, keyauth_credentials: [{ key: k }] }] # c\n'],
    ['a dash alone', 'consumers:\n- username: a\n  keyauth_credentials:\n  - # c\n    key: k\n'],
    ['an empty value', 'consumers:\n- username: a # c\n  keyauth_credentials:\n  tags: [x]\n'],
    ['no line at the end', 'consumers:\n- username: a # c\n  keyauth_credentials:\n  - key: k'],
    [
      'a credential beside its consumer',
      'consumers:\n- username: a # c\nkeyauth_credentials:\n- consumer: a\n  key: k\n',
    ],
  ])('writes %s so that it says what it should', (_, text) => {
    const result = edit(text, (file) => {
      const [credential] = file.credentials
      return credential === undefined ? [{ type: 'add', consumer: 'a', added }] : [{ type: 'after', credential, added }]
    })
    expect(result).toContain('# c')
    const keys = readDeck(result, PATH).credentials
    expect(keys.map(({ owner }) => owner)).toEqual(keys.map(() => 'a'))
    expect(keys.at(-1)).toMatchObject(added)
  })

  it('writes JSON as JSON', () => {
    const text = JSON.stringify({ consumers: [{ username: 'a', keyauth_credentials: [{ key: 'k' }] }] }, null, 2)
    const result = edit(text, (file) => [{ type: 'after', credential: at(file, 0), added }])
    expect(JSON.parse(result)).toEqual({ consumers: [{ username: 'a', keyauth_credentials: [{ key: 'k' }, added] }] })
    expect(result.startsWith('{\n  "consumers"')).toBe(true)
  })

  it('keeps Windows line ends and a byte order mark', () => {
    const text = `\ufeff${FILE.replaceAll('\n', '\r\n')}`
    const result = edit(text, (file) => [{ type: 'after', credential: at(file, 0), added }])
    expect(result.startsWith('\ufeff# All')).toBe(true)
    expect(result.split('\n').every((line, index, all) => index === all.length - 1 || line.endsWith('\r'))).toBe(true)
  })
})

interface Spec {
  readonly comment: boolean
  readonly inline: boolean
  readonly blank: boolean
  readonly quoted: boolean
  readonly tags: 'none' | 'flow' | 'block' | 'first'
}

const spec: fc.Arbitrary<Spec> = fc.record({
  comment: fc.boolean(),
  inline: fc.boolean(),
  blank: fc.boolean(),
  quoted: fc.boolean(),
  tags: fc.constantFrom('none', 'flow', 'block', 'first'),
})

/** A file as people write them, no two alike. */
function write(consumers: readonly (readonly Spec[])[], deep: boolean, eol: string): string {
  const lines = ['# top', '_format_version: "3.0"', 'consumers:']
  const pad = deep ? '  ' : ''
  let number = 0
  for (const [index, credentials] of consumers.entries()) {
    lines.push(`${pad}# about ${index}`, `${pad}- username: user-${index} # name ${index}`)
    if (credentials.length > 0) lines.push(`${pad}  keyauth_credentials: # keys ${index}`)
    for (const { comment, inline, blank, quoted, tags } of credentials) {
      number += 1
      const dash = `${pad}  ${pad}- `
      const inner = `${pad}  ${pad}  `
      const key = `key: ${quoted ? `"key-${number}"` : `key-${number}`}${inline ? ` # at ${number}` : ''}`
      const list =
        tags === 'none'
          ? []
          : tags === 'flow'
            ? [`tags: [a,  "b: ${number}"] # flow ${number}`]
            : ['tags:', `${pad}  - a # item ${number}`, `${pad}  - 'b: ${number}'`]
      if (blank) lines.push('')
      if (comment) lines.push(`${pad}  ${pad}# before ${number}`)
      const parts = tags === 'first' ? [...list, key] : [key, ...list]
      lines.push(...parts.map((part, at) => (at === 0 ? dash : inner) + part))
    }
  }
  return [...lines, '# bottom', ''].join(eol)
}

const comments = (text: string) => [...text.matchAll(/# ?([a-z]+(?: \d+)?)\r?$/gm)].map(([, comment]) => comment)

it('keeps every comment and the order of everything, whatever is edited', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(spec, { maxLength: 4 }), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      fc.constantFrom('\n', '\r\n'),
      fc.infiniteStream(fc.constantFrom('keep', 'rotate', 'tags', 'remove')),
      fc.option(fc.nat({ max: 3 }), { nil: undefined }),
      (consumers, deep, eol, choices, issueTo) => {
        const text = write(consumers, deep, eol)
        const file = readDeck(text, PATH)
        type Model = { username: string; keyauth_credentials?: { key: string; tags?: string[] }[] }
        const model = structuredClone(parse(text)) as { consumers: Model[] }
        const edits: DeckEdit[] = []
        for (const credential of file.credentials) {
          const list = model.consumers.find(({ username }) => username === credential.owner)?.keyauth_credentials ?? []
          const index = list.findIndex(({ key }) => key === credential.key)
          const choice = choices.next().value
          const tags = [...credential.tags, 'pc-id:x', 'pc-retired']
          if (choice === 'rotate' || choice === 'tags') {
            edits.push({ type: 'tags', credential, tags })
            Object.assign(list[index] ?? {}, { tags })
          }
          if (choice === 'rotate') {
            const fresh = { key: `new-${credential.key}`, tags: ['pc-id:x'] }
            edits.push({ type: 'after', credential, added: fresh })
            list.splice(index + 1, 0, fresh)
          }
          if (choice === 'remove') {
            edits.push({ type: 'remove', credential })
            list.splice(index, 1)
          }
        }
        const consumer = issueTo === undefined ? undefined : model.consumers[issueTo]
        if (consumer !== undefined) {
          edits.push({ type: 'add', consumer: consumer.username, added: { key: 'issued', tags: [] } })
          consumer.keyauth_credentials = [...(consumer.keyauth_credentials ?? []), { key: 'issued', tags: [] }]
        }
        const result = editDeck(file, edits, PATH).text
        expect(parse(result)).toEqual(model)
        expect(comments(result).toSorted()).toEqual(comments(text).toSorted())
        if (eol === '\r\n') expect(result.replaceAll('\r\n', '')).not.toContain('\n')
        const gone = edits.some(({ type }) => type === 'remove')
        if (!gone) expect(comments(result)).toEqual(comments(text))
      },
    ),
    { numRuns: 150 },
  )
})

describe('readDeck refuses', () => {
  const deep = (open: string) => `consumers: ${open.repeat(20_000)}`
  it.each([
    [
      'an alias among credentials',
      'x: &t [a]\nconsumers:\n- username: a\n  keyauth_credentials:\n  - {key: k, tags: *t}\n',
      /alias/,
    ],
    [
      'an anchor among credentials',
      'consumers:\n- username: a\n  keyauth_credentials: &k\n  - {key: k}\nx: *k\n',
      /anchor/,
    ],
    ['a merge', 'x: &m {key: k}\nconsumers:\n- username: a\n  keyauth_credentials:\n  - {<<: *m}\n', /alias/],
    ['a key twice', 'consumers: []\nconsumers: []\n', /DUPLICATE_KEY/],
    [
      'a credential’s key twice',
      'consumers:\n- username: a\n  keyauth_credentials:\n  - {key: secret-a, key: secret-b}\n',
      /DUPLICATE_KEY/,
    ],
    ['several documents', 'consumers: []\n---\nconsumers: []\n', /documents/],
    ['what is no map', '- a\n', /no declarative config/],
    ['nothing', '', /no declarative config/],
    ['a number as a key', 'consumers:\n- username: a\n  keyauth_credentials:\n  - key: 12345\n', /must be text/],
    ['a list as a consumer', 'consumers:\n- [a]\n', /must be a map/],
    ['a consumer without a name', 'consumers:\n- tags: [a]\n', /has no username/],
    ['a credential of nobody', 'keyauth_credentials:\n- key: k\n', /whose it is/],
    [
      'tags that are no list',
      'consumers:\n- username: a\n  keyauth_credentials:\n  - {key: k, tags: x}\n',
      /must be a list/,
    ],
    [
      'a tag that is no text',
      'consumers:\n- username: a\n  keyauth_credentials:\n  - {key: k, tags: [1]}\n',
      /must be text/,
    ],
    ['what never ends', deep('['), /YAML/],
    ['what never ends, as maps', deep('{a: '), /YAML/],
    ['a tab', 'consumers:\n\t- username: a\n', /YAML/],
  ])('%s', (_, text, message) => {
    expect(() => readDeck(text, PATH)).toThrow(message)
    try {
      readDeck(text, PATH)
    } catch (error) {
      expect(String(error)).not.toContain('secret')
    }
  })
})

it('edits beside a bomb of aliases without following it', () => {
  const bomb = [
    'a: &a [x, x]',
    ...'bcdefghijklmnopqrst'.split('').map((name, index, all) => {
      const before = index === 0 ? 'a' : all[index - 1]
      return `${name}: &${name} [*${before}, *${before}, *${before}, *${before}]`
    }),
  ].join('\n')
  const text = `${bomb}\nconsumers:\n- username: a\n  keyauth_credentials:\n  - key: k\n`
  expect(edit(text, (file) => [{ type: 'after', credential: at(file, 0), added }])).toContain('- key: pc_new')
})
