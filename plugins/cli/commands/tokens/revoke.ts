/** `portcullis tokens revoke` and `lift` */

import type { Command } from 'commander'
import { PortcullisError } from '../../../../policies/errors.ts'
import type { RevocationKey } from '../../../../policies/revocation/ports.ts'
import { EXIT, type Io } from '../../io.ts'
import { parseDuration } from '../../keys/duration.ts'
import { asJsonLine } from '../../print.ts'
import { addRedisOptions, type RedisOptions } from '../../redis-options.ts'
import type { JsonOption, Place } from '../keys/place.ts'

interface SubjectOptions extends RedisOptions, JsonOption {
  readonly token?: string | true
  readonly jti?: string
  readonly sub?: string
  readonly credential?: string
  readonly apiKey?: true
  readonly consumer?: string
  readonly issuer?: string
}

interface RevokeOptions extends SubjectOptions {
  readonly reason: string
  readonly for?: string
}

/** What is to be revoked, and until when it matters. */
interface Meant {
  readonly key: RevocationKey
  /** Epoch milliseconds. */
  readonly matters?: number
}

/** The largest `clock_tolerance_seconds`: a token may be good for so long after its end. */
const TOLERANCE_MS = 300_000
/** Of a year of four digits, in epoch seconds. */
const LATEST = 253_402_300_799 - TOLERANCE_MS / 1_000
const MAX_INPUT = 20_000
const MAX_TEXT = 1_024

export function addRevoke(tokens: Command, place: Place): void {
  const command = tokens
    .command('revoke')
    .description(
      'Puts a token, a subject, a credential or a consumer on the deny list in Redis: refused on every gateway within a second.',
    )
    .option('--reason <text>', 'for the operator; callers never see it', 'revoked by an operator')
    .option('--for <duration>', 'how long; by default for good, or as long as the token would be valid')
  addSubjectOptions(command).action(async (options: RevokeOptions) => {
    const { io, load } = place
    if (options.reason.length > MAX_TEXT) throw invalid(`--reason: at most ${MAX_TEXT} characters`)
    const forMs = options.for === undefined ? undefined : parseDuration(options.for, '--for')
    const { key, matters } = await readSubject(options, io)
    const world = await load()
    const now = world.clock.now()
    const expiresAt = forMs === undefined ? matters : now + forMs
    if (expiresAt !== undefined && expiresAt <= now)
      throw new PortcullisError('already_expired', 'the token has expired: nobody takes it any more')
    await withDenyList(options, world, (store) =>
      store.revoke({
        ...key,
        reason: options.reason,
        revokedAt: now,
        ...(expiresAt === undefined ? {} : { expiresAt }),
      }),
    )
    const until = expiresAt === undefined ? null : new Date(expiresAt).toISOString()
    if (options.json) io.out(asJsonLine({ ...key, reason: options.reason, expires_at: until }))
    io.err(`Revoked the ${NAMES[key.kind]}${until === null ? ' for good' : ` until ${until}`}.\n`)
  })
}

export function addLift(tokens: Command, place: Place): void {
  const command = tokens.command('lift').description('Takes a revocation back.')
  addSubjectOptions(command).action(async (options: SubjectOptions) => {
    const { io, load, finish } = place
    const { key } = await readSubject(options, io)
    const lifted = await withDenyList(options, await load(), (store) => store.lift(key))
    if (options.json) io.out(asJsonLine({ ...key, lifted }))
    io.err(lifted ? `Lifted the revocation of the ${NAMES[key.kind]}.\n` : 'There was no such revocation.\n')
    if (!lifted) finish(EXIT.findings)
  })
}

const NAMES = { jti: 'token', sub: 'subject', credential: 'credential', consumer: 'consumer' } as const

function addSubjectOptions(command: Command): Command {
  return addRedisOptions(command)
    .option(
      '--token [text]',
      'one token; without its text it is read from standard input, where no process list shows it',
    )
    .option('--jti <id>', 'one token, by its claim jti')
    .option('--sub <name>', 'every token of a subject')
    .option('--credential <fingerprint>', 'a credential, by fingerprint or id')
    .option('--api-key', 'a credential, by the key itself, read from standard input')
    .option('--consumer <name>', 'a consumer, by id, user name or custom id')
    .option('--issuer <name>', 'with --jti and --sub: only tokens of this issuer')
    .option('--json', 'print JSON')
}

async function readSubject(options: SubjectOptions, io: Io): Promise<Meant> {
  const { token, jti, sub, credential, apiKey, consumer, issuer } = options
  if ([token, jti, sub, credential, apiKey, consumer].filter((each) => each !== undefined).length !== 1)
    throw invalid('name one of --token, --jti, --sub, --credential, --api-key and --consumer')
  if (issuer !== undefined && jti === undefined && sub === undefined) throw invalid('--issuer: needs --jti or --sub')
  for (const each of [jti, sub, credential, consumer, issuer])
    if (each !== undefined && (each === '' || each.length > MAX_TEXT)) throw invalid('a name is empty or too long')
  const by = issuer === undefined ? {} : { issuer }
  if (token !== undefined) return readToken(token === true ? await readSecret(io) : token)
  if (jti !== undefined) return { key: { kind: 'jti', value: jti, ...by } }
  if (sub !== undefined) return { key: { kind: 'sub', value: sub, ...by } }
  if (consumer !== undefined) return { key: { kind: 'consumer', value: consumer } }
  const { fingerprintOf } = await import('../../../../policies/api-key/index.ts')
  return { key: { kind: 'credential', value: credential ?? fingerprintOf(await readSecret(io)) } }
}

/** Not verified: whoever holds a token may end it, and its text says no more than that. */
async function readToken(text: string): Promise<Meant> {
  const { createTokenReader, TokenRefused } = await import('../../../../policies/scope/jwt/token.ts')
  let payload: Readonly<Record<string, unknown>>
  try {
    payload = createTokenReader()(text.trim()).payload
  } catch (error) {
    if (error instanceof TokenRefused) throw invalid('what was given is no token that this pack would take')
    throw error
  }
  const { jti, iss, exp } = payload
  if (typeof jti !== 'string' || jti === '' || jti.length > MAX_TEXT)
    throw invalid('the token has no jti to name it by; revoke its subject with --sub')
  const until = typeof exp === 'number' && exp >= 0 && exp <= LATEST ? { matters: exp * 1_000 + TOLERANCE_MS } : {}
  return { key: { kind: 'jti', value: jti, ...(typeof iss === 'string' ? { issuer: iss } : {}) }, ...until }
}

async function readSecret(io: Io): Promise<string> {
  const text = (await io.readInput?.(MAX_INPUT))?.trim() ?? ''
  if (text === '' || /\s/.test(text)) throw invalid('give one token or key on standard input, and nothing else')
  return text
}

async function withDenyList<T>(
  options: RedisOptions,
  world: Awaited<ReturnType<Place['load']>>,
  work: (store: Awaited<ReturnType<typeof import('../../keys/deny-list.ts').openDenyListStore>>) => Promise<T>,
): Promise<T> {
  const { openDenyListStore } = await import('../../keys/deny-list.ts')
  const store = await openDenyListStore(options, world)
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

function invalid(why: string): PortcullisError {
  return new PortcullisError('invalid_argument', why)
}
