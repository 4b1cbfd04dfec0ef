import { expect, it } from 'vitest'
import { CODES } from '../../../policies/errors.ts'
import { choice, integer, list, map, record, string } from '../../../policies/schema/declare.ts'
import { codesTable, fieldsTable } from '../../../policies/schema/reference.ts'

it('shows every option with its nested path, type, default and description', () => {
  const table = fieldsTable({
    mode: { type: choice('enforce', 'shadow'), default: 'enforce', description: 'Refuses | only counts.' },
    limits: {
      type: list(
        record({
          limit: { type: integer({ min: 1 }), required: true, description: 'Tokens a window.' },
          tags: { type: map(list(string())), description: 'Tags by name.' },
        }),
      ),
      default: [],
      description: 'The rules of it.',
    },
    redis: {
      type: record({ password: { type: string({ secret: true }), description: 'Its password.' } }),
      required: true,
      description: 'The store of it.',
    },
  })
  expect(table.split('\n')).toEqual([
    '| Option | Type | Default | What it does |',
    '|---|---|---|---|',
    '| `mode` | `enforce`, `shadow` | `"enforce"` | Refuses \\| only counts. |',
    '| `limits` | list of: object | `[]` | The rules of it. |',
    '| `limits[].limit` | integer, at least 1 | **required** | Tokens a window. |',
    '| `limits[].tags` | map of: list of: string |  | Tags by name. |',
    '| `redis` | object | its own defaults | The store of it. |',
    '| `redis.password` | secret string |  | Its password. |',
  ])
})

it('shows every error code', () => {
  const lines = codesTable(CODES).split('\n')
  expect(lines).toHaveLength(Object.keys(CODES).length + 2)
  expect(lines[2]).toMatch(/^\| 400 \| `invalid_request` \| .+ \| .+ \|$/)
})
