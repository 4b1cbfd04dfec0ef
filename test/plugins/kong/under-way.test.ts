import { describe, expect, test } from 'vitest'
import type { Facts } from '../../../plugins/kong/shared-context.ts'
import { createUnderWay, type KeptEntry } from '../../../plugins/kong/under-way.ts'

const factsOf = (id: string): Facts => ({
  version: 1,
  request_id: id,
  method: 'POST',
  path: '/v1/chat/completions',
  address: '192.0.2.7',
  header_count: 1,
  body_in: 'base64',
  body: Buffer.from('a prompt'),
  body_base64: 'YSBwcm9tcHQ=',
})

const entryOf = (plugin: string, pluginId = 'a'): KeptEntry => ({
  plugin,
  pluginId,
  protocol: undefined,
  reservations: [],
  wouldReject: [],
  rule: undefined,
  verdicts: undefined,
  claims: undefined,
  identity: undefined,
})

describe('requests under way', () => {
  test('have the entries of all plugins', () => {
    const underWay = createUnderWay()
    underWay.keep(factsOf('r'), entryOf('llm-scope'))
    underWay.keep(factsOf('r'), entryOf('llm-token-limit'))
    expect(underWay.find('r')?.entries).toEqual([entryOf('llm-scope'), entryOf('llm-token-limit')])
    underWay.forget('r')
    expect(underWay.find('r')).toBeUndefined()
  })

  test('of one id are not taken for each other', () => {
    const underWay = createUnderWay()
    for (let request = 0; request < 3; request += 1) {
      underWay.keep(factsOf('r'), entryOf('llm-scope'))
      underWay.keep(factsOf('r'), entryOf('llm-token-limit'))
      if (request > 0) expect(underWay.find('r')).toBeUndefined()
    }
  })

  test('that Kong refused give back what a plugin let through, and keep nothing of what it still decides', () => {
    const underWay = createUnderWay(2)
    underWay.keep(factsOf('r'), entryOf('llm-scope'))
    underWay.keep(factsOf('r'), entryOf('llm-token-limit'))
    expect(underWay.disown('r', 'llm-token-limit')).toEqual(entryOf('llm-token-limit'))
    expect(underWay.disown('r', 'llm-token-limit')).toBeUndefined()
    expect(underWay.keep(factsOf('r'), entryOf('llm-token-limit'))).toBe(false)
    expect(underWay.find('r')?.entries).toEqual([entryOf('llm-scope')])
    underWay.disown('r', 'llm-scope')
    expect(underWay.find('r')).toBeUndefined()
    expect(underWay.disown('early', 'llm-scope')).toBeUndefined()
    expect(underWay.keep(factsOf('early'), entryOf('llm-scope'))).toBe(false)
    expect(underWay.keep(factsOf('early'), entryOf('llm-gateway'))).toBe(true)
    expect(underWay.keep(factsOf('other'), entryOf('llm-scope'))).toBe(true)
  })

  test('hold nothing of a body', () => {
    const underWay = createUnderWay()
    underWay.keep(factsOf('r'), entryOf('llm-scope'))
    expect(JSON.stringify(underWay.find('r'))).not.toMatch(/prompt|YSBw/)
  })

  test('beyond so many are forgotten, the oldest first', () => {
    const underWay = createUnderWay(2)
    for (const id of ['one', 'two', 'three']) underWay.keep(factsOf(id), entryOf('llm-scope'))
    expect(['one', 'two', 'three'].map((id) => underWay.find(id)?.facts.request_id)).toEqual([
      undefined,
      'two',
      'three',
    ])
  })
})
