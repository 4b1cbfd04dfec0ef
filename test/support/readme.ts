/**
 * The parts of the README that come from the code. Run as `npm run readme` it rewrites every block between
 * `<!-- generated: NAME -->` and `<!-- end -->`; a guard fails when one is out of date.
 */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CODES } from '../../policies/errors.ts'
import { codesTable, fieldsTable } from '../../policies/schema/reference.ts'
import { loadPolicies } from './policies.ts'
import { ROOT, readText } from './sources.ts'

const BLOCK = /<!-- generated: ([^\n]+?) -->\n[\s\S]*?<!-- end -->/g

/** `codes`, and the config reference of each policy under its name. */
export async function readmeBlocks(): Promise<ReadonlyMap<string, string>> {
  const policies = await loadPolicies()
  return new Map([
    ['codes', codesTable(CODES)],
    ...policies.map(({ name, fields }): [string, string] => [name, fieldsTable(fields)]),
  ])
}

/** The same text with every block made anew. @throws when a block has a name that nothing generates. */
export function regenerate(markdown: string, blocks: ReadonlyMap<string, string>): string {
  return markdown.replace(BLOCK, (_, name: string) => {
    const block = blocks.get(name)
    if (block === undefined) throw new Error(`no such block: ${name}; there are: ${[...blocks.keys()].join(', ')}`)
    return `<!-- generated: ${name} -->\n${block}\n<!-- end -->`
  })
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(join(ROOT, 'README.md'), regenerate(readText('README.md'), await readmeBlocks()))
}
