import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import {
  CONTRACT_VERSION,
  entryKey,
  FACT_HEADERS,
  FACTS_KEY,
  MAX_PACKED_BODY,
} from '../../../plugins/kong/shared-context.ts'

const lua = (name: string) => readFileSync(new URL(`../../../kong/plugins/${name}.lua`, import.meta.url), 'utf8')

test('Lua looks for exactly the headers whose absence the adapter believes', () => {
  const list = /local HEADERS = \{([^}]*)\}/.exec(lua('llm-edge/facts'))?.[1] ?? ''
  const names = [...list.matchAll(/"([^"]+)"/g)].map(([, name]) => name)
  expect(names.sort()).toEqual([...FACT_HEADERS].sort())
})

test('Lua packs bodies up to the same size, in the same version, under the same keys', () => {
  expect(lua('llm-edge/facts')).toContain(`MAX_PACKED_BODY = ${MAX_PACKED_BODY}`)
  expect(lua('llm-edge/facts')).toContain(`version = ${CONTRACT_VERSION},`)
  expect(lua('llm-edge/handler')).toContain(`kong.ctx.shared.${FACTS_KEY} =`)
  expect(lua('llm-guard/handler')).toContain('"portcullis_" .. name:gsub("-", "_")')
  expect(entryKey('llm-token-limit')).toBe('portcullis_llm_token_limit')
})
