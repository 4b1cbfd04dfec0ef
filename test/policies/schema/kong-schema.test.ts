import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { ConfigError } from '../../../policies/errors.ts'
import { record, string } from '../../../policies/schema/declare.ts'
import { KONG_PRIVATE_KEYS, toKongSchema } from '../../../policies/schema/kong-schema.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { inputs, sample } from '../../fixtures/kong-schema/sample.ts'
import { fillAsKong } from './kong-model.ts'

interface Answers {
  readonly source: string
  readonly meta: string
  readonly schema: unknown
  readonly inputs: unknown
  readonly outcomes: readonly { readonly accepted: boolean; readonly config?: string }[]
}

/** Recorded by `test/fixtures/kong-schema/record.ts`. */
const answers = JSON.parse(
  readFileSync(new URL('../../fixtures/kong-schema/answers.json', import.meta.url), 'utf8'),
) as Answers

describe('the Kong schema, against the recorded answers of a real Kong', () => {
  it('is still the one that was asked about', () => {
    expect(answers.source).toMatch(/^Kong 3\.9\./)
    expect(answers.meta).toBe('valid')
    expect(JSON.parse(JSON.stringify(toKongSchema(sample)))).toEqual(answers.schema)
    expect(inputs).toEqual(answers.inputs)
    expect(answers.outcomes).toHaveLength(inputs.length)
  })

  it.each(inputs.map((input, index) => ({ input, outcome: answers.outcomes[index] })))('%j', ({ input, outcome }) => {
    if (outcome?.config === undefined) {
      expect(() => parseConfig(sample, input)).toThrow(ConfigError)
      return
    }
    // Kong resolved the vault references.
    const resolved = JSON.parse(JSON.stringify(input).replaceAll(/\{vault:[^}]*\}/g, 'resolved'))
    const config = parseConfig(sample, resolved)
    expect(parseConfig(sample, JSON.parse(outcome.config), KONG_PRIVATE_KEYS)).toEqual(config)
    expect(parseConfig(sample, fillAsKong(toKongSchema(sample), resolved))).toEqual(config)
  })
})

describe('the Kong schema', () => {
  it('marks secrets as referenceable, encrypted and never quoted in an error', () => {
    const [field] = toKongSchema({ key: { type: string({ secret: true }), description: 'The secret key.' } })
    expect(field).toEqual({
      key: {
        type: 'string',
        description: 'The secret key.',
        referenceable: true,
        encrypted: true,
        err: 'is not an acceptable secret',
      },
    })
  })

  it('goes along with the keys that Kong adds, at their places only', () => {
    const fields = {
      redis: {
        type: record({ host: { type: string(), description: 'A host name.' } }),
        description: 'The store of it.',
      },
    }
    const added = { __seq__: 1, __plugin_id: 'p', __key__: 'k', __ws_id: 'w', route_id: 'r', $refs: {} }
    expect(parseConfig(fields, { ...added, redis: { host: 'h', $refs: {} } }, KONG_PRIVATE_KEYS)).toEqual({
      redis: { host: 'h' },
    })
    expect(() => parseConfig(fields, { redis: { route_id: 'r' } }, KONG_PRIVATE_KEYS)).toThrow('redis.route_id')
    expect(() => parseConfig(fields, added)).toThrow('__seq__')
  })
})
