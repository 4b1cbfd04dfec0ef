import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { firstUncovered } from '../../../policies/scope/grants.ts'
import { innerModels, redirectedBy, redirects, redirectsInQuery } from '../../../policies/scope/redirects.ts'
import { chat, exchange, granted, setUp } from './support.ts'

describe('what leaves the model open', () => {
  it.each(['fallbacks', 'Fallbacks', 'extra_body', 'extraBody', 'EXTRA-BODY', 'extra_body[model]', 'api_base.x'])(
    '%s does',
    (name) => {
      expect(redirects(name)).toBe(true)
      expect(redirectedBy({ [name]: 1 })).toEqual([''])
      expect(redirectedBy({ [name]: null })).toEqual([])
    },
  )

  it.each(['model', 'messages', 'temperature', 'metadata', 'user', 'store', 'prompt', 'input', ''])(
    '%s does not',
    (name) => {
      expect(redirects(name)).toBe(false)
      expect(redirectedBy({ [name]: 1 })).toEqual([])
    },
  )

  it('a query may not name a model at all', () => {
    expect(['model', 'Model', 'models', 'model[]', 'fallbacks'].every(redirectsInQuery)).toBe(true)
    expect(['api-version', 'alt', 'key', 'user', 'beta'].some(redirectsInQuery)).toBe(false)
  })

  it('a header or a query matters to those only whose grant names models', async () => {
    const { passed, refused } = setUp()
    const beside = { headers: { 'x-portkey-config': 'c-1' } }
    await passed({ ...beside, caller: granted('llm:chat') })
    const { code, message } = await refused({ ...beside, caller: granted('llm:chat:gpt-4o-mini') })
    expect({ code, message }).toEqual({ code: 'insufficient_scope', message: 'The scope "llm:chat" is missing.' })
  })

  it('is looked for through asynchronous reads as well', async () => {
    const { instance } = setUp()
    const plain = exchange({ caller: granted('llm:chat:gpt-4o-mini') })
    const ask = (names: readonly string[], header?: string) =>
      instance.decide({
        ...plain,
        queryNames: async () => names,
        header: async (name) => (name === 'helicone-fallbacks' ? header : plain.header(name)),
      })
    expect((await ask([])).type).toBe('pass')
    expect((await ask(['model'])).type).toBe('reject')
    expect((await ask([], '[]')).type).toBe('reject')
    expect(await ask(['_method'])).toMatchObject({ type: 'reject', code: 'invalid_request' })
  })
})

describe('models inside', () => {
  it.each<[unknown, string[]]>([
    [undefined, []],
    [[{ type: 'image_generation', model: 'a' }], ['a']],
    [[{ parameters: { allowed_models: ['a', 'b'] } }], ['a', 'b']],
    [{ deep: [{ deeper: { model_name: 'a' } }, { deploymentName: 'b' }] }, ['a', 'b']],
    [{ model: { id: 'x', model: 'a' } }, ['a']],
    [[{ type: 'function', model: 'x', function: { model: 'y' } }], []],
    [[{ name: 'f', input_schema: { examples: [{ model: 'Golf' }] } }], []],
    [[{ functionDeclarations: [{ model: 'Golf' }] }], []],
    [{ remodel: 'x' }, ['x']],
    [{ modelling: 'x' }, []],
  ])('%j: %j', (value, models) => {
    expect(innerModels(value)).toEqual(models)
  })
})

describe('a name that is more than a name', () => {
  const divisible = ['a,b', 'a;b', 'a?b', 'a#b', 'a%2fb', 'a\\b', 'a/../b', '../a', 'a/..', './a', '..']

  it.each(divisible)('%s is covered only by a grant that spells it out', (model) => {
    expect(firstUncovered(['*'.repeat(3), 'a*', '*b', '*'], [model])).toBe(model)
    expect(firstUncovered([model], [model])).toBeUndefined()
  })

  it.each(['openai/gpt-5', 'a.b', 'a..b', 'ft:gpt-4o-mini:acme::x', 'a@1', 'a+b', '.a', 'a/b.c/d'])(
    '%s is just a name',
    (model) => {
      expect(firstUncovered(['*'], [model])).toBeUndefined()
    },
  )

  it('put into a URL, what a glob covers stays what it is', () => {
    const anything = fc.string({ unit: fc.constantFrom(...'ab./\\?#%2ef,;:@'), minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(anything, (tail) => {
        const model = `safe-${tail}`
        if (firstUncovered(['safe-*'], [model]) !== undefined) return
        expect(new URL(`http://host/models/${model}:generateContent`).pathname).toBe(`/models/${model}:generateContent`)
      }),
      { numRuns: 2_000 },
    )
  })

  it('a request for such a model says which scope is missing', async () => {
    const body = chat({ model: 'gpt-4o-mini,gpt-5' })
    const { message } = await setUp().refused({ body, caller: granted('llm:chat:gpt-*') })
    expect(message).toBe('The scope "llm:chat:gpt-4o-mini,gpt-5" is missing.')
    await setUp().passed({ body, caller: granted('llm:chat:gpt-4o-mini,gpt-5') })
  })
})
