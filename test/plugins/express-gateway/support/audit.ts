/** An audit log in a file of its own, and what is in it. */

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect, onTestFinished, vi } from 'vitest'
import { type AuditRecord, auditRecordSchema } from '../../../../policies/audit/index.ts'

const validate = new Ajv2020({ allErrors: true }).compile(auditRecordSchema)

export interface AuditFile {
  readonly path: string
  /** The policy's step in a pipeline. */
  readonly step: object
  /** Resolves once there are as many records, all of them as the schema says. */
  records(count: number): Promise<readonly AuditRecord[]>
}

export function createAuditFile(config: Readonly<Record<string, unknown>> = {}): AuditFile {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-audit-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'audit.ndjson')
  const action = { sinks: [{ type: 'file', path, flush_ms: 0 }], redaction: {}, ...config }
  return {
    path,
    step: { 'llm-audit-log': { action } },
    async records(count) {
      await vi.waitFor(() => expect(linesIn(path).length).toBeGreaterThanOrEqual(count), {
        timeout: 5_000,
        interval: 10,
      })
      // One more would be one too many.
      await new Promise((resolve) => setTimeout(resolve, 50))
      const records = linesIn(path).map((line) => JSON.parse(line) as AuditRecord)
      for (const record of records) expect(validate(record), JSON.stringify(validate.errors)).toBe(true)
      expect(records).toHaveLength(count)
      return records
    },
  }
}

function linesIn(path: string): readonly string[] {
  return existsSync(path)
    ? readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
    : []
}
