import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect, it } from 'vitest'
import { auditRecordSchema } from '../../../policies/audit/index.ts'
import { sampleRecord, schemaText } from '../../fixtures/audit/sample.ts'
import { RECORD_SCHEMA, readmeBlocks, regenerate } from '../../support/readme.ts'
import { readText } from '../../support/sources.ts'

const validate = new Ajv2020({ allErrors: true, strict: true }).compile(auditRecordSchema)

it('the sample record is one, chained or not', async () => {
  expect(validate(sampleRecord()), JSON.stringify(validate.errors)).toBe(true)
  const block = (await readmeBlocks()).get('audit-record') ?? ''
  expect(validate(JSON.parse(block.slice(8, -4))), JSON.stringify(validate.errors)).toBe(true)
})

it('the page is what `npm run readme` makes of it', async () => {
  const page = readText('policies/audit/README.md')
  expect(regenerate(page, await readmeBlocks())).toBe(page)
  for (const name of Object.keys(auditRecordSchema.properties)) expect(page).toContain(`\`${name}\``)
})

it('the published schema is that of the code', () => {
  expect(readText(RECORD_SCHEMA)).toBe(schemaText())
})
