/** Every code this pack can answer or throw, with its meaning and its fix. The README table comes from here. */

import type { ConfigIssue } from './schema/fields.ts'

export interface CodeEntry {
  readonly status: number
  readonly meaning: string
  readonly fix: string
}

export const CODES = {
  invalid_request: {
    status: 400,
    meaning: 'The path or body cannot be understood, so it cannot be metered or judged.',
    fix: 'Send valid UTF-8 JSON without duplicate keys, to the exact path of the API.',
  },
  unmetered_operation: {
    status: 400,
    meaning:
      'Nobody can meter this operation on a limited route: unknown path, batch, fine-tuning, background run, Upgrade.',
    fix: 'Call a metered operation, or have the operator list the path in `unmetered`.',
  },
  invalid_token: {
    status: 401,
    meaning: 'The bearer token is missing, malformed, expired, revoked, or not from a trusted issuer.',
    fix: 'Get a new token from the issuer.',
  },
  invalid_key: {
    status: 401,
    meaning: 'The API key is missing or unknown.',
    fix: 'Send a key that was issued to you.',
  },
  key_expired: {
    status: 401,
    meaning: 'The API key is past its expiry or its maximum age and grace time.',
    fix: 'Rotate the key.',
  },
  key_revoked: { status: 401, meaning: 'The API key was revoked.', fix: 'Ask the operator for a new key.' },
  insufficient_scope: {
    status: 403,
    meaning: 'The caller may not use this operation or model.',
    fix: 'Ask the operator for the scope that the message names.',
  },
  address_not_allowed: {
    status: 403,
    meaning: 'The credential may not be used from this address.',
    fix: 'Call from an allowed address, or have the operator widen the range.',
  },
  request_too_large: {
    status: 413,
    meaning: 'The request body is larger than `max_body_bytes`.',
    fix: 'Send less, or have the operator raise the cap.',
  },
  unsupported_encoding: {
    status: 415,
    meaning: 'The request body is compressed or in a charset that the pack cannot look into.',
    fix: 'Send it uncompressed, in UTF-8.',
  },
  rate_limit_exceeded: {
    status: 429,
    meaning: 'A limit has no room for this request now.',
    fix: 'Wait for `retry-after`.',
  },
  request_exceeds_limit: {
    status: 429,
    meaning: 'This request can never fit: it asks for more than the whole limit.',
    fix: 'Send a smaller prompt or a smaller output limit.',
  },
  headers_too_large: {
    status: 431,
    meaning: 'The request has more headers than the gateway shows.',
    fix: 'Send fewer headers.',
  },
  policy_unavailable: {
    status: 503,
    meaning: 'A policy could not decide: store down, fault, deadline, or plugin server gone. The door stays shut.',
    fix: 'Retry later; the operator finds the cause in the log under the request id.',
  },
} as const satisfies Record<string, CodeEntry>

export type Code = keyof typeof CODES

/** A fault with a stable code. Its message never holds a secret or a part of a request. */
export class PortcullisError extends Error {
  override name = 'PortcullisError'
  readonly code: string
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Reading the request already shows that it must be refused. The pipeline turns it into a `reject`. */
export class RefusedRead extends PortcullisError {
  override name = 'RefusedRead'
  declare readonly code: Code
  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** A config was refused, code `invalid_config`. Names every offending field and never quotes a value. */
export class ConfigError extends PortcullisError {
  override name = 'ConfigError'
  readonly issues: readonly ConfigIssue[]
  /** @param subject what was configured, such as the plugin's name. */
  constructor(subject: string, issues: readonly ConfigIssue[]) {
    const shown = issues.slice(0, 20).map(({ path, message }) => (path === '' ? message : `${path}: ${message}`))
    const more = issues.length > shown.length ? [`and ${issues.length - shown.length} more`] : []
    super('invalid_config', `Invalid config of ${subject}: ${[...shown, ...more].join('; ')}`)
    this.issues = issues
  }
}
