/** The policy `llm-audit-log`: refuses nothing, and writes one record of every request once it is over. */

import { createHmac } from 'node:crypto'
import { PortcullisError } from '../errors.ts'
import { protocolById } from '../llm/protocols/index.ts'
import type {
  Claims,
  Deps,
  Ending,
  Exchange,
  Outcome,
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
import { type BodyRead, type Content, contentOf } from './content.ts'
import { callAttributes, type Draft, noteCaller, readDraft, understand, understandPath } from './draft.ts'
import { openHeldContent } from './held-content.ts'
import { createLabeller } from './label.ts'
import { LOST } from './missing-content.ts'
import { type AuditRecord, addContent, makeRecord } from './record.ts'
import { isWanted } from './selection.ts'
import { openSinks } from './sinks/open.ts'

export const NAME = 'llm-audit-log'

export const auditLog: Policy<typeof fields> = { name: NAME, fields, check, create: createInstance }

function createInstance(config: AuditConfig, deps: Deps): PolicyInstance {
  const { clock, random } = deps
  // Before the sinks, which at the end are closed in this order and still take what it makes.
  const holding = openHeldContent(deps)
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
    const id = random.id()
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
      ...(sampled ? keepContent(id, understood, caller.consumer?.id ?? '') : { content: {} }),
    }
    return {
      type: 'pass',
      reservation: { id, policy: NAME, estimated: { input: 0, output: 0 }, data: draft },
      ...(protocol === undefined
        ? {}
        : { tap: { protocol: protocol.id, stream: understood.call?.stream ?? false, withholdUsage: false } }),
    }
  }

  /** What takes time to make, and room to carry, is made later and waits here; unless there is no room. */
  function keepContent(id: string, read: BodyRead, tenant: string): Pick<Draft, 'content' | 'held'> {
    const { bytes, value, unread } = read
    if (config.content === 'redacted' && bytes !== undefined && unread === undefined) {
      const needed = value === undefined ? { bytes } : { value }
      if (holding.hold(id, bytes.length, () => contentOf(needed, tenant, contentOptions)))
        return { content: {}, held: true }
    }
    return { content: contentOf(read, tenant, contentOptions) }
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

  /** Of a request that another policy refused there will be a record, of one whose decision came too late perhaps not. */
  async function settle({ id, data }: Reservation, { ended }: Outcome): Promise<void> {
    if (ended === 'not_forwarded' && readDraft(data)?.held === true) holding.expire(id)
  }

  function observe(ending: Ending, reply?: ReplyReader): void {
    const own = ending.reservations.findLast(({ policy }) => policy === NAME)
    const draft = readDraft(own?.data)
    const held = draft?.held === true ? own?.id : undefined
    const record = recordOf(ending, draft)
    if (record === undefined || !isWanted(record, config.only_on)) {
      if (held !== undefined) holding.drop(held)
      return
    }
    const replied = isCompletionReader(reply) ? reply.content() : {}
    const write = (content: Content): void => {
      addContent(record, content, replied)
      for (const sink of sinks) sink.write(record)
    }
    if (held === undefined) write(draft?.content ?? withoutDraft(record))
    else if (!holding.take(held, write)) write(LOST)
  }

  /** A gateway may pass over a plugin that it cannot reach, where nothing requires that it decided. */
  function withoutDraft(record: AuditRecord): Content {
    const passedOver = config.content !== 'none' && record['portcullis.decision'] === 'pass'
    return passedOver ? { 'portcullis.content.request.dropped': 'unseen' } : {}
  }

  /** Undefined when there is to be none. */
  function recordOf(ending: Ending, draft: Draft | undefined): AuditRecord | undefined {
    if (isSkipped({ ...draft?.route, ...ending.route })) return undefined
    if (!(draft?.sampled ?? (config.sample === 1 || random.fraction() < config.sample))) return undefined
    return makeRecord(ending, draft, {
      ownName: NAME,
      sample: config.sample,
      userHash: userHash(ending.caller?.claims, config.hash_key),
      now: clock.now(),
      label: label.id,
      call: draft === undefined ? callAttributes(understandPath(ending, config.operations), label.model) : {},
    })
  }

  return { maxBodyBytes: config.max_body_bytes, decide, settle, readReply, observe }
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
