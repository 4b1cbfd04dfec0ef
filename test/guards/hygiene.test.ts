import { expect, it } from 'vitest'
import { filesBelow, readText } from '../support/sources.ts'

/** Put together here, so that this file does not name them. */
const word = (...parts: string[]) => parts.join('')
const UNFINISHED = new RegExp(`\\b(${word('TO', 'DO')}|${word('FIX', 'ME')}|${word('XX', 'X')}|${word('HA', 'CK')})\\b`)
const SILENCED = new RegExp(
  [word('@ts-', 'ignore'), word('@ts-', 'nocheck'), word('@ts-', 'expect-error'), word('as', ' any\\b')].join('|'),
)
const NARROWED = new RegExp(`\\b(it|describe|test)\\.(${word('on', 'ly')}|${word('to', 'do')})\\b`)

/** Recorded or foreign text is as it was found. */
const files = filesBelow('').filter((path) => !path.startsWith('test/fixtures/') || path.endsWith('.ts'))
const lines = files
  .filter((path) => /\.(ts|mjs|js|json|md|lua|sh|ya?ml|env)$|(^|\/)(Dockerfile|run)$/.test(path))
  .flatMap((path) =>
    readText(path)
      .split('\n')
      .map((text, index) => ({ at: `${path}:${index + 1}`, text })),
  )

const hits = (pattern: RegExp, within: RegExp = /./) =>
  lines.filter(({ at, text }) => within.test(at) && pattern.test(text)).map(({ at }) => at)

it('looks at something', () => {
  expect(lines.length).toBeGreaterThan(3000)
})

it('leaves nothing marked as unfinished', () => {
  expect(hits(UNFINISHED)).toEqual([])
})

it('silences neither the compiler nor its types', () => {
  expect(hits(SILENCED, /\.ts:/)).toEqual([])
})

it('runs every test', () => {
  expect(hits(NARROWED, /\.test\.ts:/)).toEqual([])
})
