/**
 * The parts of the documentation that come from the code. Run as `npm run readme` it rewrites every block between
 * `<!-- generated: NAME -->` and `<!-- end -->`; a guard fails when one is out of date.
 */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CODES } from '../../policies/errors.ts'
import { codesTable, fieldsTable, topFieldsTable } from '../../policies/schema/reference.ts'
import { fieldsBlock, sampleBlock, schemaText } from '../fixtures/audit/sample.ts'
import { metricsTable } from './metrics.ts'
import { loadPolicies } from './policies.ts'
import { ROOT, readText } from './sources.ts'

/** Files with such blocks. */
export const GENERATED = ['README.md', 'policies/audit/README.md'] as const
/** The published JSON Schema of audit records: a generated file. */
export const RECORD_SCHEMA = 'policies/audit/record.schema.json'

const BLOCK = /<!-- generated: ([^\n]+?) -->\n[\s\S]*?<!-- end -->/g

/** `codes`, the config reference of each policy under its name, and what documents the audit log. */
export async function readmeBlocks(): Promise<ReadonlyMap<string, string>> {
  const policies = await loadPolicies()
  return new Map([
    ['codes', codesTable(CODES)],
    ['audit-record', sampleBlock()],
    ['audit-fields', fieldsBlock()],
    ['metrics', metricsTable()],
    ...policies.map((policy): [string, string] => [
      policy.name,
      // What is in a set has a table of its own.
      'createAll' in policy ? topFieldsTable(policy.fields) : fieldsTable(policy.fields),
    ]),
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
  const blocks = await readmeBlocks()
  for (const path of GENERATED) writeFileSync(join(ROOT, path), regenerate(readText(path), blocks))
  writeFileSync(join(ROOT, RECORD_SCHEMA), schemaText())
}
