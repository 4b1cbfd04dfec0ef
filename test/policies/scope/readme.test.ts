/** What the README says of grants is what they do, and its configs are accepted. */

import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { scope } from '../../../policies/scope/index.ts'
import { exchange, granted, setUp } from './support.ts'

const README = readFileSync(new URL('../../../policies/scope/README.md', import.meta.url), 'utf8')

const ROW =
  /^\| `(llm:[^`]+)` \| `([A-Z]+) ([^`]+)`(?: with (?:`([^`]+)`|any model)| without a model)? \| (allowed|refused) \|$/gm

function bodyFor(path: string, model: string | undefined): unknown {
  const named = model === undefined ? {} : { model }
  if (path.startsWith('/v1beta')) return { contents: [] }
  if (path.includes('embeddings')) return { ...named, input: 'x' }
  return { ...named, messages: [], max_tokens: 5 }
}

describe('grants', () => {
  const rows = [...README.matchAll(ROW)]

  it('has examples of both kinds', () => {
    const table = README.slice(README.indexOf('| Grant | Request'), README.indexOf('The last one is refused'))
    expect(rows.length).toBe(table.trim().split('\n').length - 2)
    expect(rows.length).toBeGreaterThan(20)
  })

  it.each(rows.map((row) => row.slice(1)))('%s: %s %s with %s is %s', async (grant, method, path, model, verdict) => {
    if (grant === undefined || method === undefined || path === undefined) throw new Error('no row')
    const anyModel = model ?? (README.includes(`\`${path}\` with any model`) ? 'any' : undefined)
    const decision = await setUp().instance.decide(
      exchange({
        method,
        path,
        body: method === 'POST' ? bodyFor(path, anyModel) : null,
        caller: granted(grant),
      }),
    )
    expect(decision.type).toBe(verdict === 'allowed' ? 'pass' : 'reject')
    if (decision.type === 'reject') expect(decision.code).toBe('insufficient_scope')
  })
})

it('the threat model names tests that are there', () => {
  const text = readFileSync(new URL('../../../policies/THREAT-MODEL.md', import.meta.url), 'utf8')
  const paths = [...text.matchAll(/`(test\/[^`]+)`/g)].map(([, path = '']) => path)
  expect(paths.length).toBeGreaterThan(10)
  for (const path of paths) expect(existsSync(new URL(`../../../${path}`, import.meta.url)), path).toBe(true)
})

describe('configs', () => {
  const blocks = [...README.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = '']) => text)

  it('are there', () => {
    expect(blocks.length).toBeGreaterThanOrEqual(6)
  })

  it.each(blocks)('is accepted: %s', (text) => {
    const config = (parse(text) as Readonly<Record<string, unknown>>)['llm-scope']
    expect(() => parsePolicyConfig(scope, config)).not.toThrow()
  })
})
