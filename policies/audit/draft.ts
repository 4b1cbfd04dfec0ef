/**
 * What is noted about a request when it comes, until it is over. Plain data: the gateway may carry it to another process.
 * It holds nothing that a record may not hold.
 */

import { RefusedRead } from '../errors.ts'
import { type JsonObject, parseJsonBody } from '../llm/json.ts'
import { type ExtraOperation, recognise } from '../llm/operations.ts'
import type { LlmCall, Operation } from '../llm/protocol.ts'
import type { Caller, Exchange, RouteRef } from '../policy.ts'
import type { Content } from './content.ts'
import type { AuditRecord, NotedCaller } from './record.ts'

export interface Draft {
  readonly version: 1
  /** Whether this request is in the sample. */
  readonly sampled: boolean
  readonly requestId: string
  /** Epoch milliseconds. */
  readonly time: number
  readonly method: string
  readonly route: RouteRef
  readonly caller: NotedCaller
  /** Id of the protocol by which the reply is read. */
  readonly protocol?: string
  readonly call: Partial<AuditRecord>
  /** What is not held by the process that noted this. */
  readonly content: Content
  /** Further content waits in that process, by the reservation's id. */
  readonly held?: true
}

/** What the request asks for, as far as it can be understood. */
export interface Understood {
  readonly operation?: Operation
  readonly call?: LlmCall
  readonly bytes?: Uint8Array
  /** What the bytes were parsed to, where that was needed. */
  readonly value?: JsonObject
  /** Why the body could not be read. */
  readonly unread?: 'unreadable' | 'too_large'
}

const OPERATION_NAMES: Readonly<Record<string, string>> = {
  'openai-completions': 'text_completion',
  'gemini-generate': 'generate_content',
}

/** Never refuses: what cannot be understood is simply not in the record. */
export async function understand(exchange: Exchange, extra: readonly ExtraOperation[]): Promise<Understood> {
  const { operation } = understandPath(exchange, extra)
  let bytes: Uint8Array | undefined
  try {
    bytes = await exchange.body()
  } catch (error) {
    if (!(error instanceof RefusedRead)) throw error
    const unread = error.code === 'request_too_large' ? 'too_large' : 'unreadable'
    return { ...(operation === undefined ? {} : { operation }), unread }
  }
  const encoding = (await exchange.header('content-encoding'))?.trim().toLowerCase() ?? ''
  const unread = encoding !== '' && encoding !== 'identity'
  const protocol = operation?.protocol
  const readable = unread || protocol === undefined ? undefined : bytes
  const body = readable === undefined ? undefined : attempt(() => parseJsonBody(readable))
  const call =
    body === undefined || operation === undefined || protocol === undefined
      ? undefined
      : attempt(() => protocol.read(body, operation))
  return {
    ...(operation === undefined ? {} : { operation }),
    ...(call === undefined ? {} : { call }),
    ...(bytes === undefined ? {} : { bytes }),
    ...(body === undefined ? {} : { value: body.value }),
    ...(unread ? { unread: 'unreadable' as const } : {}),
  }
}

/** What method and path alone say. */
export function understandPath(
  { method, path }: { readonly method?: string; readonly path?: string },
  extra: readonly ExtraOperation[],
): Pick<Understood, 'operation'> {
  if (method === undefined || path === undefined) return {}
  const operation = attempt(() => recognise(method.toUpperCase(), path, extra))
  return operation === undefined ? {} : { operation }
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof RefusedRead) return undefined
    throw error
  }
}

/** @param model makes a model's name harmless */
export function callAttributes({ operation, call }: Understood, model: (name: string) => string): Partial<AuditRecord> {
  const protocol = call?.protocol ?? operation?.protocol
  const name = call?.model ?? operation?.model
  const stream = call?.stream ?? operation?.stream
  return {
    ...(operation === undefined
      ? {}
      : { 'gen_ai.operation.name': OPERATION_NAMES[protocol?.id ?? ''] ?? operationName(operation) }),
    ...(protocol === undefined ? {} : { 'gen_ai.provider.name': protocol.provider }),
    ...(name === undefined || name === '' ? {} : { 'gen_ai.request.model': model(name) }),
    ...(stream === undefined ? {} : { 'gen_ai.request.stream': stream }),
    ...(call?.declaredOutput === undefined ? {} : { 'gen_ai.request.max_tokens': call.declaredOutput }),
    ...(call === undefined || call.candidates === 1 ? {} : { 'gen_ai.request.choice.count': call.candidates }),
  }
}

/** OpenTelemetry has no word for these; `responses` is a chat by another path. */
function operationName({ name }: Operation): string {
  return name === 'responses' ? 'chat' : name
}

export function noteCaller({ consumer, credential, address }: Caller): NotedCaller {
  return {
    address,
    ...(consumer === undefined
      ? {}
      : {
          consumer: {
            id: consumer.id,
            ...(consumer.username === undefined ? {} : { username: consumer.username }),
          },
        }),
    ...(credential === undefined
      ? {}
      : {
          credential: {
            ...(credential.id === undefined ? {} : { id: credential.id }),
            ...(credential.fingerprint === undefined ? {} : { fingerprint: credential.fingerprint }),
          },
        }),
  }
}

/** The draft in a reservation's data; undefined when it is no draft of this version. */
export function readDraft(data: unknown): Draft | undefined {
  return typeof data === 'object' && data !== null && (data as Partial<Draft>).version === 1
    ? (data as Draft)
    : undefined
}
