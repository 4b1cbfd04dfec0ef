import { expect, test } from 'vitest'
import { genericCases } from '../../fixtures/redaction/prose.ts'
import { seeded } from '../../fixtures/redaction/random.ts'
import type { Score } from '../../fixtures/redaction/score.ts'
import {
  nationalCases,
  PERSON,
  personCases,
  personPrecision,
  proseCases,
  scoreBenign,
  scoreCases,
  secretCases,
} from '../../fixtures/redaction/score.ts'

function rates(scores: readonly Score[]): Record<string, number> {
  return Object.fromEntries(scores.map(({ family, found, total }) => [family, found / total]))
}

function expectAtLeast(scores: readonly Score[], least: number): void {
  for (const score of scores) {
    expect(score.total, score.family).toBeGreaterThan(0)
    expect(score.found / score.total, `${score.family}: ${score.missed.join(' | ')}`).toBeGreaterThanOrEqual(least)
  }
}

test('generic personal data: at least 97 % of every kind', () => {
  expectAtLeast(scoreCases(genericCases(seeded(1))), 0.97)
})

test('national identifiers: at least 97 %, alone and announced', () => {
  const scores = scoreCases(nationalCases())
  expectAtLeast(scores, 0.97)
  expect(Object.keys(rates(scores))).toEqual(['national, alone', 'national, announced'])
})

test('secrets: at least 97 % of every kind', () => {
  expectAtLeast(scoreCases(secretCases()), 0.97)
})

test('prose in nine languages: at least 97 % in each', () => {
  const scores = scoreCases(proseCases())
  expect(scores).toHaveLength(9)
  expectAtLeast(scores, 0.97)
})

test.each(['code', 'prose'] as const)('benign %s: at most 1 % of the pieces has anything masked', (kind) => {
  const score = scoreBenign(kind, 1_500)
  expect(score.total).toBe(1_500)
  expect(score.found / score.total, score.missed.join(' | ')).toBeLessThanOrEqual(0.01)
})

test('names and street addresses, the opt-in level: at least 80 %', () => {
  expectAtLeast(scoreCases(personCases(), PERSON), 0.8)
})

test('names and street addresses: at least 90 % of what is masked is one', () => {
  const scores = personPrecision()
  expect(scores.map(({ family }) => family)).toEqual(['names (opt-in)', 'street addresses (opt-in)'])
  expectAtLeast(scores, 0.9)
})
