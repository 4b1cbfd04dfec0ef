import { expect, it } from 'vitest'
import { createCanaries, leaksIn } from './support/canaries.ts'

it.each(['text', 'secret'] as const)('a canary of the kind %s is found in whatever form', (kind) => {
  const canaries = createCanaries(kind)
  const value = canaries.plant('body')
  const bytes = Buffer.from(value)
  for (const text of [
    `a ${value} b`,
    value.toUpperCase(),
    bytes.toString('base64'),
    Buffer.from(`x${value}y`).toString('base64'),
    Buffer.from(`{"a":"${value}"}`).toString('base64url'),
    bytes.toString('hex'),
    JSON.stringify(JSON.stringify({ value })),
  ])
    expect(leaksIn(canaries, [{ name: 'log', text }]), text).toEqual(['body in log'])
  expect(leaksIn(canaries, [{ name: 'log', text: value.slice(1) }])).toEqual([])
})
