import { describe, expect, it } from 'vitest'
import { validateDeclaration } from '../../policies/schema/declaration.ts'
import { loadPolicies } from '../support/policies.ts'

const policies = await loadPolicies()

it('finds the policies', () => {
  expect(policies.map(({ name }) => name)).toContain('llm-token-limit')
})

describe.each(policies)('$name', ({ name, fields }) => {
  it('declares what every gateway can express', () => {
    expect(validateDeclaration(fields)).toEqual([])
  })

  it('has a name that Kong, a URL and a metric can carry', () => {
    expect(name).toMatch(/^llm(-[a-z]+)+$/)
  })
})
