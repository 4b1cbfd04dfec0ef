/** The policy `llm-audit-log`: refuses nothing, and writes one record of every request once it is over. */

import { createHmac } from 'node:crypto'
import { PortcullisError } from '../errors.ts'
import { protocolById } from '../llm/protocols/index.ts'
import type {
  Claims,
  Deps,
  Ending,
  Exchange,
  Pass,
  Policy,
  PolicyInstance,
  ReplyReader,
  Reservation,
} from '../policy.ts'
import { createRedactor, redactionOptions } from '../redaction/index.ts'
import { publish } from '../telemetry.ts'
import { createCompletionReader, isCompletionReader } from './completion.ts'
import { type AuditConfig, check, fields } from './config.ts'
import { type Content, contentOf } from './content.ts'
import { callAttributes, type Draft, noteCaller, readDraft, understand, understandPath } from './draft.ts'
import { createLabeller } from './label.ts'
import { makeRecord } from './record.ts'
import { isWanted } from './selection.ts'
import { openSinks } from './sinks/open.ts'

export const NAME = 'llm-audit-log'

export const auditLog: Policy<typeof fields> = { name: NAME, fields, check, create: createInstance }

function createInstance(config: AuditConfig, deps: Deps): PolicyInstance {
  const { clock, random } = deps
  const sinks = openSinks(config, deps, NAME)
  const redaction = redactionOptions(config.redaction)
  const redactor = createRedactor(redaction)
  // What an operator leaves readable in prompts may still be a secret in a model's name.
  const strict = createRedactor({ ...redaction, families: ['pii', 'national', 'secret'], ignore: [] })
  const label = createLabeller(strict, {
    models: config.models,
    custom: config.redaction.custom.length > 0,
    now: clock.now,
  })
  const contentOptions = {
    content: config.content,
    maxBytes: config.max_content_bytes,
    hashKey: config.hash_key,
    redactor,
    now: clock.now,
    onFault: (error: unknown) => reportFault(deps, 'redact', error),
  }

  function isSkipped({ id, name }: Ending['route']): boolean {
    return config.skip_routes.some((skipped) => skipped === id || skipped === name)
  }

  async function decide(exchange: Exchange): Promise<Pass> {
    const sampled = config.sample === 1 || random.fraction() < config.sample
    if (isSkipped(exchange.route)) return { type: 'pass' }
    const time = clock.now()
    const understood = sampled ? await understand(exchange, config.operations) : {}
    const caller = noteCaller(await exchange.caller())
    const protocol = understood.operation?.protocol
    const content: Content = sampled ? contentOf(understood, caller.consumer?.id ?? '', contentOptions) : {}
    const draft: Draft = {
      version: 1,
      sampled,
      requestId: exchange.requestId,
      time,
      method: exchange.method,
      route: exchange.route,
      caller,
      ...(protocol === undefined ? {} : { protocol: protocol.id }),
      call: callAttributes(understood, label.model),
      content,
    }
    return {
      type: 'pass',
      reservation: { id: random.id(), policy: NAME, estimated: { input: 0, output: 0 }, data: draft },
      ...(protocol === undefined
        ? {}
        : { tap: { protocol: protocol.id, stream: understood.call?.stream ?? false, withholdUsage: false } }),
    }
  }

  function readReply({ data }: Reservation): ReplyReader | undefined {
    const draft = readDraft(data)
    if (draft?.sampled !== true) return undefined
    return createCompletionReader({
      ...contentOptions,
      protocol: draft.protocol === undefined ? undefined : protocolById(draft.protocol),
      tenant: draft.caller.consumer?.id ?? '',
      maxBodyBytes: config.max_body_bytes,
    })
  }

  function observe(ending: Ending, reply?: ReplyReader): void {
    const draft = readDraft(ending.reservations.findLast(({ policy }) => policy === NAME)?.data)
    if (isSkipped({ ...draft?.route, ...ending.route })) return
    if (!(draft?.sampled ?? (config.sample === 1 || random.fraction() < config.sample))) return
    const record = makeRecord(ending, draft, {
      ownName: NAME,
      sample: config.sample,
      userHash: userHash(ending.caller?.claims, config.hash_key),
      now: clock.now(),
      label: label.id,
      call: draft === undefined ? callAttributes(understandPath(ending, config.operations), label.model) : {},
      reply: isCompletionReader(reply) ? reply.content() : {},
    })
    if (isWanted(record, config.only_on)) for (const sink of sinks) sink.write(record)
  }

  return { maxBodyBytes: config.max_body_bytes, decide, readReply, observe }
}

/** Only keyed: a subject is often an e-mail address, and those can be guessed. */
function userHash(claims: Claims | undefined, key: string | undefined): string | undefined {
  if (key === undefined || typeof claims?.sub !== 'string') return undefined
  const issuer = typeof claims.iss === 'string' ? claims.iss : ''
  return createHmac('sha256', key)
    .update(JSON.stringify([issuer, claims.sub]))
    .digest('hex')
    .slice(0, 32)
}

function reportFault({ logger }: Deps, where: string, error: unknown): void {
  const code = error instanceof PortcullisError ? error.code : 'internal_error'
  logger.error('policy fault', { where: `${NAME}.${where}`, code })
  publish('fault', () => ({ where: `${NAME}.${where}`, code }))
}

export type { AuditConfig } from './config.ts'
export type { Files, Outputs } from './ports.ts'
export { type AuditRecord, SCHEMA_VERSION } from './record.ts'
export { auditRecordSchema } from './schema.ts'
export { type ChainFault, type ChainFile, type Verification, type VerifyOptions, verifyChain } from './verify.ts'
