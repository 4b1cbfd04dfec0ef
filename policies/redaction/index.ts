/** Redaction of personal data and secrets: `redact`, `redactBody`, `createRedactor`, `createStreamRedactor`. */

export type { BodyFinding, BodyRedaction } from './body.ts'
export { redactBody, redactBodyWith } from './body.ts'
export type { RedactionConfig } from './config.ts'
export { checkRedaction, redactionFields, redactionOptions } from './config.ts'
export type { CustomPattern } from './custom.ts'
export { VENDORS } from './detectors/vendors/index.ts'
export type { Family, Finding } from './finding.ts'
export type { CallOptions, Redaction, RedactOptions, Redactor } from './redactor.ts'
export { createRedactor, redact } from './redactor.ts'
export type { StreamRedactor } from './stream.ts'
export { createStreamRedactor, streamWith } from './stream.ts'
