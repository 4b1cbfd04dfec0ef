import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { queryNames } from '../../../policies/llm/query.ts'

describe('names of a query', () => {
  it.each([
    ['', []],
    ['a', ['a']],
    ['a=1&b=2&a=3', ['a', 'b', 'a']],
    ['a=1;b=2', ['a', 'b']],
    ['a=1?b=2', ['a', 'b']],
    ['%6dodel=x&m+n=y', ['model', 'm n']],
    ['%=1&%zz=2', ['%', '%zz']],
    ['&&=x&', []],
  ])('%j: %j', (query, names) => {
    expect(queryNames(query)).toEqual(names)
  })

  it('hold everything that a URL parser finds', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string({ minLength: 1 }), fc.string())), (pairs) => {
        const query = new URLSearchParams(pairs).toString()
        expect(queryNames(query)).toEqual(pairs.map(([name]) => name))
      }),
    )
  })
})
