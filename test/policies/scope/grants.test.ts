import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  firstUncovered,
  missingScope,
  type Need,
  OPERATIONS,
  parseGrant,
  standing,
  UNKNOWN_MODEL,
} from '../../../policies/scope/grants.ts'

/** Whether grants let a need with these models through. */
function lets(texts: readonly string[], need: Need, models: readonly string[] = []): boolean {
  const grants = texts.map(parseGrant).filter((grant) => grant !== undefined)
  const verdict = standing(grants, need)
  if (verdict.type === 'by-model') return firstUncovered(verdict.globs, models) === undefined
  return verdict.type === 'allowed'
}

const CHAT: Need = { operation: 'chat', read: false }
const COUNT: Need = { operation: 'chat', read: true }
const LIST: Need = { operation: 'models', read: true }

describe('the grammar', () => {
  it.each([
    ['llm:*', { operation: '*', readOnly: false }],
    ['llm:read', { operation: '*', readOnly: true }],
    ['llm:*:read', { operation: '*', readOnly: true }],
    ['llm:chat', { operation: 'chat', readOnly: false }],
    ['llm:chat:*', { operation: 'chat', readOnly: false }],
    ['llm:chat:read', { operation: 'chat', readOnly: true }],
    ['llm:chat:gpt-4o-mini', { operation: 'chat', readOnly: false, models: 'gpt-4o-mini' }],
    ['llm:chat:claude-*', { operation: 'chat', readOnly: false, models: 'claude-*' }],
    ['llm:chat:read:claude-*', { operation: 'chat', readOnly: true, models: 'claude-*' }],
    ['llm:*:gemini-*', { operation: '*', readOnly: false, models: 'gemini-*' }],
    ['llm:chat:ft:gpt-4o-mini:acme::abc', { operation: 'chat', readOnly: false, models: 'ft:gpt-4o-mini:acme::abc' }],
    ['llm:chat:openai/gpt-5', { operation: 'chat', readOnly: false, models: 'openai/gpt-5' }],
  ])('%s', (text, grant) => {
    expect(parseGrant(text)).toEqual(grant)
  })

  it.each([
    '',
    'llm',
    'llm:',
    'llm::',
    'llm:chat:',
    'llm:chat:read:',
    'llm:read:gpt-4o',
    'llm:chatter',
    'llm:Chat',
    'LLM:chat',
    ' llm:chat',
    'llm:chat ',
    'llm:chat:gpt 4',
    'llm:chat:"x"',
    'llm:chat:a\\b',
    'llm:chat:modèle',
    'openid',
    `llm:chat:${'x'.repeat(300)}`,
  ])('%j is no grant', (text) => {
    expect(parseGrant(text)).toBeUndefined()
  })
})

describe('what grants let through', () => {
  it.each([
    [['llm:*'], CHAT, ['gpt-5'], true],
    [['llm:*'], CHAT, [UNKNOWN_MODEL], true],
    [['llm:read'], CHAT, ['gpt-5'], false],
    [['llm:read'], COUNT, ['gpt-5'], true],
    [['llm:read'], LIST, [], true],
    [['llm:chat'], LIST, [], false],
    [['llm:chat:read'], CHAT, ['gpt-5'], false],
    [['llm:chat:read'], COUNT, ['gpt-5'], true],
    [['llm:chat'], COUNT, ['gpt-5'], true],
    [['llm:chat:gpt-4o-mini'], CHAT, ['gpt-4o-mini'], true],
    [['llm:chat:gpt-4o-mini'], CHAT, ['gpt-4o'], false],
    [['llm:chat:gpt-4o-mini'], CHAT, ['gpt-4o-mini-2024-07-18'], false],
    [['llm:chat:gpt-4o-mini'], CHAT, ['GPT-4o-mini'], false],
    [['llm:chat:gpt-4o-mini'], CHAT, [UNKNOWN_MODEL], false],
    [['llm:chat:gpt-4o-mini'], CHAT, [], false],
    [['llm:chat:gpt-4o-mini', 'llm:chat:o3'], CHAT, ['gpt-4o-mini', 'o3'], true],
    [['llm:chat:gpt-4o-mini', 'llm:chat:o3'], CHAT, ['gpt-4o-mini', 'gpt-5', 'o3'], false],
    [['llm:chat:claude-*'], CHAT, ['claude-sonnet-4-5'], true],
    [['llm:chat:claude-*'], CHAT, ['anthropic/claude-3'], false],
    [['llm:embeddings:*'], CHAT, ['gpt-4o-mini'], false],
    [['llm:*:gemini-*'], CHAT, ['gemini-2.0-flash'], true],
    [[], CHAT, ['gpt-4o-mini'], false],
  ])('%j, %j, %j: %s', (grants, need, models, expected) => {
    expect(lets(grants, need, models)).toBe(expected)
  })
})

const operation = fc.constantFrom(...OPERATIONS)
const model = fc.stringMatching(/^[a-z0-9][a-z0-9.:/-]{0,20}$/)

describe('properties', () => {
  it('what is missing is what would do, and nothing less than it', () => {
    fc.assert(
      fc.property(operation, fc.boolean(), model, (name, read, wanted) => {
        fc.pre(wanted !== 'read' && !wanted.startsWith('read:'))
        const need = { operation: name, read }
        const missing = missingScope(need, wanted)
        expect(lets([missing], need, [wanted])).toBe(true)
        expect(lets([missing], need, [`${wanted}x`])).toBe(false)
      }),
    )
  })

  it('more grants never let less through', () => {
    const grant = fc.oneof(
      operation.map((name) => `llm:${name}`),
      fc.tuple(operation, model).map(([name, named]) => `llm:${name}:${named}`),
      fc.constantFrom('llm:read', 'llm:*', 'nonsense'),
    )
    fc.assert(
      fc.property(fc.array(grant), grant, operation, fc.boolean(), fc.array(model), (own, more, name, read, models) => {
        const need = { operation: name, read }
        if (lets(own, need, models)) expect(lets([...own, more], need, models)).toBe(true)
      }),
    )
  })

  it('any text parses to a grant or to nothing, and never throws', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        parseGrant(text)
        parseGrant(`llm:${text}`)
      }),
    )
  })
})

it('a scope that a header could not carry is named without its model', () => {
  expect(missingScope(CHAT, 'a"b')).toBe('llm:chat')
  expect(missingScope(CHAT, 'modèle')).toBe('llm:chat')
  expect(missingScope(COUNT)).toBe('llm:chat:read')
})
