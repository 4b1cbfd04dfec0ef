/** `portcullis keys audit` */

import type { Command } from 'commander'
import { PortcullisError } from '../../../../policies/errors.ts'
import { EXIT } from '../../io.ts'
import { auditKeys, FINDINGS } from '../../keys/audit.ts'
import { parseDuration } from '../../keys/duration.ts'
import { addBackendOptions, type BackendOptions } from '../../keys/open.ts'
import { asFindingTable, findingData } from '../../keys/report.ts'
import { asJsonLine, counted } from '../../print.ts'
import { type JsonOption, type Place, withBackend } from './place.ts'

interface AuditOptions extends BackendOptions, JsonOption {
  readonly maxAge: string
  readonly warnAge: string
  readonly minLength: string
  readonly allowUnknownAge?: true
}

export function addAudit(keys: Command, place: Place): void {
  const command = keys
    .command('audit')
    .description('Holds every key to a policy; ends with 1 when one breaks it.')
    .option('--max-age <duration>', 'age that breaks the policy', '90d')
    .option('--warn-age <duration>', 'age from which a warning is shown', '60d')
    .option('--min-length <characters>', 'least length of a key that was not made by this pack', '32')
    .option('--allow-unknown-age', 'let keys pass of which nobody knows the age')
    .option('--json', 'print JSON')
  addBackendOptions(command).action(async (options: AuditOptions) => {
    const { io, finish } = place
    const rules = {
      maxAgeMs: parseDuration(options.maxAge, '--max-age'),
      warnAgeMs: parseDuration(options.warnAge, '--warn-age'),
      minLength: readLength(options.minLength),
      allowUnknownAge: options.allowUnknownAge === true,
    }
    await withBackend(options, place, async (backend, { clock }) => {
      const now = clock.now()
      const all = await backend.list()
      const findings = auditKeys(all, rules, now)
      const broken = findings.filter(({ code }) => FINDINGS[code].level === 'error')
      const counts = { keys: all.length, errors: broken.length, warnings: findings.length - broken.length }
      if (options.json)
        io.out(asJsonLine({ ...counts, findings: findings.map((finding) => findingData(finding, now)) }))
      else if (findings.length > 0) io.out(asFindingTable(findings))
      io.err(
        `${counted(counts.keys, 'key')}: ${counts.errors} against the policy, ${counted(counts.warnings, 'warning')}.\n`,
      )
      if (broken.length > 0) finish(EXIT.findings)
    })
  })
}

function readLength(text: string): number {
  const length = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (length >= 1) return length
  throw new PortcullisError('invalid_argument', '--min-length: give a whole number')
}
