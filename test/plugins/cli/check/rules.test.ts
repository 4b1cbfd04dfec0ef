import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { RULES } from '../../../../plugins/cli/check/rules/index.ts'
import { FIXTURES, findings, portcullis } from './portcullis.ts'

/** What is judged for one fixture: a configuration, the base with variables, or a configuration with variables. */
function sourcesOf(rule: string, twin: 'bad' | 'good'): readonly string[] {
  const [config, variables] = ['yml', 'env'].map((type) => `${FIXTURES}/${rule}.${twin}.${type}`)
  return [
    config !== undefined && existsSync(config) ? config : `${FIXTURES}/base.yml`,
    ...(variables !== undefined && existsSync(variables) ? ['--env', variables] : []),
  ]
}

describe.each(RULES)('$id', ({ id, severity }) => {
  it('is shown by its fixture, alone, with its line and its fix', async () => {
    const found = await findings(sourcesOf(id, 'bad'))
    expect([...new Set(found.filter(({ acknowledged }) => !acknowledged).map(({ rule }) => rule))]).toEqual([id])
    for (const finding of found) {
      expect(finding.severity).toBe(severity)
      expect(finding.file).toMatch(/\.(yml|env)$/)
      expect(finding.fix).not.toBe('')
    }
    expect((await portcullis(['check', ...sourcesOf(id, 'bad'), '--fail-on', severity])).code).toBe(1)
  })

  it('finds nothing in the passing twin, and nor does any other rule', async () => {
    const found = await findings(sourcesOf(id, 'good'))
    expect(found.filter(({ acknowledged }) => !acknowledged)).toEqual([])
    expect((await portcullis(['check', ...sourcesOf(id, 'good'), '--fail-on', 'note'])).code).toBe(0)
  })

  it('can be ignored', async () => {
    expect((await portcullis(['check', ...sourcesOf(id, 'bad'), '--ignore', id, '--fail-on', 'note'])).code).toBe(0)
  })
})

it('has rules with ids of their own, and says why and what to do', () => {
  expect(new Set(RULES.map(({ id }) => id)).size).toBe(RULES.length)
  for (const { id, title, why, fix } of RULES) {
    expect(id).toMatch(/^[a-z]+(-[a-z]+)+$/)
    for (const text of [title, why, fix]) expect(text.length).toBeGreaterThan(8)
    expect(why).toMatch(/\.$/)
    expect(fix).toMatch(/\.$/)
  }
})
