/** What went wrong with Redis, told apart by what it means for limits. */

import { PortcullisError } from '../../errors.ts'

/**
 * A command that was not answered, or was refused for a reason that passes. Its message and fields hold no argument of the
 * command: those of `AUTH` are secret.
 */
export class RedisFailure extends Error {
  override name = 'RedisFailure'
  /** `timeout`, `connection_lost`, `not_connected`, or the first word of Redis's own error. */
  readonly reason: string
  /** False only when the command certainly did not run. */
  readonly mayHaveRun: boolean
  constructor(reason: string, mayHaveRun: boolean) {
    super(`Redis failed: ${reason}`)
    this.reason = reason
    this.mayHaveRun = mayHaveRun
  }
}

/** Redis's own errors that say it cannot serve now; anything else is a fault of ours or of the data. */
const PASSING = [
  'BUSY',
  'CLUSTERDOWN',
  'LOADING',
  'MASTERDOWN',
  'MISCONF',
  'NOAUTH',
  'NOPERM',
  'NOREPLICAS',
  'OOM',
  'READONLY',
  'TRYAGAIN',
  'UNKILLABLE',
  'WRONGPASS',
] as const

// In a script of Redis 6 the code stands after other text: `ERR Error running script (...): ... -READONLY ...`.
const PASSING_PATTERN = new RegExp(`(?:^|[\\s:-])(${PASSING.join('|')})\\b`)

/** What to throw instead of an error of ioredis, which carries the command's arguments. */
export function failureOf(error: unknown): RedisFailure | PortcullisError {
  const message = error instanceof Error ? error.message : ''
  if (error instanceof Error && error.name === 'ReplyError') return failureOfReply(message)
  if (/enableOfflineQueue options is false$/.test(message)) return new RedisFailure('not_connected', false)
  if (message.startsWith('Too many Cluster redirections')) return new RedisFailure('redirections', false)
  return new RedisFailure('connection_lost', true)
}

/** The same for the text of an error reply. */
export function failureOfReply(message: string): RedisFailure | PortcullisError {
  const passing = PASSING_PATTERN.exec(message)?.[1]
  if (passing !== undefined) return new RedisFailure(passing, false)
  // Too many redirections come as plain errors; a redirection itself was not followed, so nothing ran.
  if (/^(MOVED|ASK) /.test(message)) return new RedisFailure('MOVED', false)
  return new PortcullisError('store_fault', `Redis refused a command: ${codeOf(message)}.`)
}

/** A reply that no script of this pack makes. */
export function replyUnreadable(): PortcullisError {
  return new PortcullisError('store_fault', 'Redis answered what no script of this pack does.')
}

/** Since a restart or `SCRIPT FLUSH`; nothing has run. */
export function isUnknownScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT')
}

/** The code of an error reply; only letters, so that nothing of the command can be in it. */
function codeOf(message: string): string {
  return /^[A-Z]{2,20}\b/.exec(message)?.[0] ?? 'unknown error'
}

const UNTRUSTED =
  /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_SELF_SIGNED_CERT|HOSTNAME_MISMATCH|ERR_TLS_CERT_ALTNAME_INVALID|INVALID_CA|PATH_LENGTH_EXCEEDED|INVALID_PURPOSE)/

/**
 * Why this config can never work, or undefined when the error may pass by itself.
 * @param where host and port, never a URL
 */
export function refusalOf(error: unknown, where: string): PortcullisError | undefined {
  if (!(error instanceof Error)) return undefined
  const { message } = error
  if (/\b(WRONGPASS|NOAUTH)\b|invalid password|ERR AUTH |invalid username-password/.test(message))
    return new PortcullisError('store_refused', `Redis at ${where} refuses the user or password of the config.`)
  if (message.includes('NOPERM'))
    return new PortcullisError('store_refused', `Redis at ${where} does not let the user run what is needed.`)
  if (/DB index is out of range|invalid DB index/.test(message))
    return new PortcullisError('store_refused', `Redis at ${where} has no such database.`)
  if (message.includes('cluster support disabled'))
    return new PortcullisError('store_refused', `Redis at ${where} is not a cluster.`)
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (UNTRUSTED.test(code) || UNTRUSTED.test(message))
    return new PortcullisError('store_untrusted', `The certificate of Redis at ${where} cannot be trusted: ${code}.`)
  return undefined
}
