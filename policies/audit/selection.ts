/** Which records are kept, with `only_on`. */

import type { AuditConfig } from './config.ts'
import type { AuditRecord } from './record.ts'

type Condition = AuditConfig['only_on'][number]

const HOLDS: Readonly<Record<Condition, (record: AuditRecord) => boolean>> = {
  refused: (record) => record['portcullis.decision'] === 'reject',
  would_reject: (record) => record['portcullis.would_reject'] !== undefined,
  errors: (record) => (record['http.response.status_code'] ?? 0) >= 400,
  cut_short: (record) => ['client_gone', 'upstream_failed', 'ended_early'].includes(record['portcullis.ended']),
  unobserved: (record) => record['portcullis.usage.source'] === 'unobserved',
}

export function isWanted(record: AuditRecord, onlyOn: readonly Condition[]): boolean {
  return onlyOn.length === 0 || onlyOn.some((condition) => HOLDS[condition](record))
}
