import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRedactor, redactBodyWith } from '../../../policies/redaction/index.ts'
import { rememberingWords } from '../../../policies/redaction/words.ts'

/** A judgement, and what it was asked. */
function asked(accepts: (word: string) => boolean) {
  const words: string[] = []
  const remembering = rememberingWords((word) => {
    words.push(word)
    return accepts(word)
  })
  return { words, remembering }
}

describe('a judgement that remembers words', () => {
  it('says what the judgement says, every time', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constantFrom('user', 'role', 'gpt-4o', 'a b', 'é'), fc.string())), (words) => {
        const accepts = (word: string) => word.length % 3 !== 0
        const { remembering } = asked(accepts)
        for (const word of [...words, ...words]) expect(remembering(word)).toBe(accepts(word))
      }),
    )
  })

  it('asks once about a word that is accepted, always about what is refused or no word', () => {
    const { words, remembering } = asked((word) => word !== 'secret')
    for (let time = 0; time < 2; time += 1)
      for (const word of ['user', 'secret', 'two words', 'é', 'x'.repeat(65)]) remembering(word)
    expect(words.filter((word) => word === 'user')).toHaveLength(1)
    for (const word of ['secret', 'two words', 'é', 'x'.repeat(65)])
      expect(words.filter((one) => one === word)).toHaveLength(2)
  })

  it('forgets when there are too many', () => {
    const { words, remembering } = asked(() => true)
    for (let word = 0; word < 1_025; word += 1) remembering(`word-${word}`)
    remembering('word-0')
    expect(words.filter((word) => word === 'word-0')).toHaveLength(2)
  })
})

describe('redaction of a body whose words are known', () => {
  const EMAIL = 'marie@sorbonne.example'
  const KEY = 'AKIAIOSFODNN7EXAMPLE'

  it('masks the same as one that sees them for the first time', () => {
    const names = fc.constantFrom(
      'model',
      'role',
      'content',
      'ssn',
      'messages',
      'metadata',
      EMAIL,
      KEY,
      '__proto__',
      'a/b~c',
    )
    const values = fc.oneof(
      fc.constantFrom('user', 'gpt-4o-mini', 'gpt-4o-2024-08-06', EMAIL, KEY, '078-05-1120', 'Hello there'),
      fc.integer(),
      fc.boolean(),
    )
    const { body } = fc.letrec<{ body: unknown }>((tie) => ({
      body: fc.oneof(
        { depthSize: 'small' },
        values,
        fc.array(tie('body'), { maxLength: 4 }),
        fc.array(fc.tuple(names, tie('body')), { maxLength: 5 }).map((entries) => Object.fromEntries(entries)),
      ),
    }))
    const used = createRedactor()
    fc.assert(
      fc.property(body, (value) => {
        const fresh = redactBodyWith(createRedactor(), value)
        expect(redactBodyWith(used, value)).toEqual(fresh)
        expect(redactBodyWith(used, value)).toEqual(fresh)
      }),
    )
  })

  it('knows nothing of what another redactor accepts', () => {
    const body = { model: 'house-model', role: 'user' }
    const lenient = createRedactor()
    const strict = createRedactor({ custom: [{ type: 'HOUSE', pattern: 'house-\\w+' }] })
    expect(redactBodyWith(lenient, body).body).toEqual(body)
    expect(redactBodyWith(strict, body).body).toEqual({ model: '[HOUSE]', role: 'user' })
    expect(redactBodyWith(lenient, body).body).toEqual(body)
  })
})
