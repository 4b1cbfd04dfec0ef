import { describe, expect, it } from 'vitest'
import { readSource, sourcesBelow } from '../support/sources.ts'

const GATEWAYS = ['express-gateway', 'kong-pdk', 'express']
/** Time, chance and settings come in through `Deps`. */
const AMBIENT = [
  /^Date\.now$/,
  /^new Date\(\)$/,
  /^Math\.random$/,
  /^performance\.now$/,
  /^process\.(env|argv|cwd|hrtime|stdout|stderr|exit|on|once)$/,
  /^console\./,
]

describe.each(sourcesBelow('policies'))('%s', (path) => {
  const { imports, typeImports, uses } = readSource(path)

  it('imports no gateway and nothing from plugins/', () => {
    const named = [...imports, ...typeImports]
    expect(named.filter((name) => GATEWAYS.includes(name.split('/')[0] ?? ''))).toEqual([])
    expect(named.filter((name) => name.startsWith('.') && name.includes('plugins/'))).toEqual([])
  })

  it('reads no clock, chance or process', () => {
    expect(uses.filter((use) => AMBIENT.some((pattern) => pattern.test(use)))).toEqual([])
  })
})

it('looks at something', () => {
  expect(sourcesBelow('policies').length).toBeGreaterThan(20)
  expect(readSource('plugins/deps.ts').uses).toContain('Date.now')
  expect(readSource('test/guards/boundaries.test.ts').imports).toContain('vitest')
})
