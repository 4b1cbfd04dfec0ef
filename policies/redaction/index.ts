/** Redaction of personal data and secrets: `redact`, `redactBody`, `createRedactor`, `createStreamRedactor`. */

export type { CustomPattern } from './custom.ts'
export { VENDORS } from './detectors/vendors/index.ts'
export type { Family, Finding } from './finding.ts'
export type { CallOptions, Redaction, RedactOptions, Redactor } from './redactor.ts'
export { createRedactor, redact } from './redactor.ts'
