import { describe, expect, it } from 'vitest'
import { readmeBlocks, regenerate } from '../support/readme.ts'
import { readText } from '../support/sources.ts'

const blocks = await readmeBlocks()

describe('README.md', () => {
  it('is what `npm run readme` makes of it', () => {
    const readme = readText('README.md')
    expect(regenerate(readme, blocks)).toBe(readme)
  })

  it('lists the error codes, and opens as many blocks as it closes', () => {
    const readme = readText('README.md')
    expect(readme).toContain('<!-- generated: codes -->')
    expect(readme.match(/<!-- generated: /g)).toHaveLength(readme.match(/<!-- end -->/g)?.length ?? -1)
  })
})

describe('regenerate', () => {
  const made = new Map([['a', '| new $& |']])

  it('replaces what stands between the marks, as it is', () => {
    expect(regenerate('x\n<!-- generated: a -->\nold\n<!-- end -->\ny', made)).toBe(
      'x\n<!-- generated: a -->\n| new $& |\n<!-- end -->\ny',
    )
  })

  it('refuses a name that nothing generates', () => {
    expect(() => regenerate('<!-- generated: b -->\n<!-- end -->', made)).toThrow('no such block: b')
  })
})
