/**
 * What passes between the Lua companions and the plugins, as tables in `kong.ctx.shared`. This page is the contract.
 *
 * Common to every table here:
 * - Its top-level keys are exactly the ones listed, never chosen by a client: Kong takes a key `_method` for an RPC name.
 * - Absent is absent. Leave out what is unknown or empty; an empty Lua table is neither list nor object.
 * - A string arrives in JavaScript as UTF-8 and loses invalid bytes, so bytes travel as base64.
 * - It is a plain Lua table: no metatable, no cdata, no function, no `ngx.null`.
 *
 * One request on a route with all of them:
 * 1. `llm-edge` access (949) writes {@link Facts} under `portcullis_facts`.
 * 2. A plugin (905) reads it, decides, and on a pass writes {@link PluginEntry} under `portcullis_llm_token_limit`. A
 *    refusal writes nothing: `kong.response.exit` ends the request.
 * 3. `llm-guard` access (904) answers 503 unless the entry of every required plugin is there, with `mark.plugin` and
 *    `mark.plugin_id` as expected.
 * 4. `llm-edge` header_filter sends `reply_headers`; its body_filter follows `tap`.
 * 5. `llm-edge` log (949) sets `report` in every plugin's entry, so that the plugin's log phase needs one read, and
 *    gathers what an observer needs under `portcullis_ending` (see ending.ts). An entry with `batch` it settles itself,
 *    through `portcullis.Settle` of the plugin server (see server/settle-batch.ts), and Kong then skips that log phase: by
 *    the request's id alone, and with all that its entries hold where that server does not know the id. One with
 *    `observes` is told in the same message how the request ended. Of a request that was refused because nobody decided,
 *    it tells which plugins left no entry: an answer that never reached Kong's worker may hold something.
 */

import { PortcullisError } from '../../policies/errors.ts'
import type { TapReport, TapWire } from '../../policies/llm/tap.ts'
import type { Claims, Identity, PolicyVerdict, Reservation } from '../../policies/policy.ts'

export const CONTRACT_VERSION = 1

export const FACTS_KEY = 'portcullis_facts'

/** Lua: `"portcullis_" .. plugin:gsub("-", "_")`. */
export function entryKey(plugin: string): string {
  return `portcullis_${plugin.replaceAll('-', '_')}`
}

/** Largest body, in bytes before base64, that `llm-edge` packs; a larger one is read with `getRawBody`. */
export const MAX_PACKED_BODY = 65_536

/**
 * Request headers that `llm-edge` always looks for, so that a missing one is known to be absent. Never one that carries
 * a credential. The operator's own names (`per: header:<name>`) come on top, in llm-edge's config.
 */
export const FACT_HEADERS = [
  'accept',
  'accept-encoding',
  'anthropic-beta',
  'anthropic-version',
  'azureml-model-deployment',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'helicone-fallbacks',
  'helicone-openai-api-base',
  'helicone-target-url',
  'transfer-encoding',
  'upgrade',
  'x-goog-fieldmask',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-url',
  'x-portkey-azure-deployment-id',
  'x-portkey-config',
  'x-portkey-custom-host',
  'x-portkey-provider',
  'x-portkey-virtual-key',
  'x-rewrite-url',
] as const

/** `kong.ctx.shared.portcullis_facts`: the request as the upstream will get it. Written once, by `llm-edge` access. */
export interface Facts {
  readonly version: typeof CONTRACT_VERSION
  /** Means nothing: varies the length of the message. */
  readonly filler?: string
  /** `ngx.var.kong_request_id`. */
  readonly request_id: string
  /** As sent, in upper case. */
  readonly method: string
  /** `ngx.var.upstream_uri` up to the first `?`. */
  readonly path: string
  /** The query as the upstream gets it, every value left out: `a&b=c` is `a&b`. Absent: there is none. */
  readonly query?: string
  readonly host?: string
  /** `kong.client.get_forwarded_ip()`: the address by Kong's trusted-proxy setting. */
  readonly address: string
  /**
   * Values by lower-case name: those of {@link FACT_HEADERS} and `extra_headers` that are there. Repeated ones joined
   * by `, `, a name written with underscores among them: some upstreams do not tell it from the one with dashes. When
   * llm-edge itself set `accept-encoding: identity` for the upstream, that is the value here.
   */
  readonly headers?: Readonly<Record<string, string>>
  /** Lower-case names that llm-edge looked for beyond {@link FACT_HEADERS}. */
  readonly extra_headers?: readonly string[]
  readonly header_count: number
  /** There were more headers than Kong shows (100). The plugin answers 431 when llm-edge has not done so itself. */
  readonly headers_truncated?: boolean
  readonly consumer?: {
    readonly id: string
    readonly username?: string
    readonly custom_id?: string
    readonly tags?: readonly string[]
  }
  /** ACL groups from Kong's own context, never from a header. */
  readonly groups?: readonly string[]
  /** Absent without a credential, as for key-auth's `anonymous`. Never the key itself. */
  readonly credential?: {
    readonly id?: string
    /** Epoch seconds. */
    readonly created_at?: number
    readonly tags?: readonly string[]
    /** Hash of the key, safe to log. */
    readonly fingerprint?: string
  }
  readonly route?: { readonly id: string; readonly name?: string }
  readonly service?: { readonly id: string; readonly name?: string }
  /**
   * `none`: no body, or an empty one. `base64`: all of it is in `body_base64` or `body`. `raw`: larger than
   * {@link MAX_PACKED_BODY}, read completely by nginx and still there for `kong.request.get_raw_body`.
   */
  readonly body_in: 'none' | 'base64' | 'raw'
  /** Bytes of the body; required unless `none`. */
  readonly body_size?: number
  /** RFC 4648 section 4, with padding and without line breaks (`ngx.encode_base64`). */
  readonly body_base64?: string
  /** In place of `body_base64` where the facts came with the event itself; never in Kong's own table. */
  readonly body?: Uint8Array
}

/** `kong.ctx.shared[entryKey(plugin)]`: the plugin's one write of a passed request. */
export interface PluginEntry {
  readonly version: typeof CONTRACT_VERSION
  /** For `llm-guard`: which plugin decided, and by which Kong config (`__plugin_id`, the id of the plugin entity). */
  readonly mark: { readonly plugin: string; readonly plugin_id: string }
  /**
   * Names, in lower case, each with its value behind it, for header_filter to set. As JSON text where Kong would unpack
   * them in slow Lua, every member on its own. `llm-edge` log removes it.
   */
  readonly reply_headers?: string | readonly string[]
  /** JSON text of a {@link TapWire} for body_filter; absent: the reply passes untouched. `llm-edge` log removes it. */
  readonly tap?: string
  /** Stands for `tap`, which `llm-edge` puts in its place when it knows it. Only on its way there. */
  readonly tap_id?: string
  /** Protocol of the plan's tap, by which its report is read. */
  readonly protocol?: string
  /** JSON text of the reservations. Opaque to Lua. */
  readonly reservations?: string
  /** JSON text of the claims of a token that the plugin verified, for the plugins after it. Opaque to Lua. */
  readonly claims?: string
  /** JSON text of whom the key belongs to, for the plugins after it. Opaque to Lua. See identity.ts. */
  readonly identity?: string
  /** Codes of the refusals that shadow mode held back. */
  readonly would_reject?: readonly string[]
  /** Name of the limit or scope behind the first of them. */
  readonly rule?: string
  /** JSON text of what each policy said, where the plugin runs several. Opaque to Lua. See ending.ts. */
  readonly verdicts?: string
  /** The server takes the settlement from `llm-edge` in a batch, so that Kong need not run the plugin's log phase. */
  readonly batch?: true
  /** With `batch`: the plugin watches how requests end, and is told in the same message. */
  readonly observes?: true
  /** Set by `llm-edge` log. */
  readonly report?: Report
}

/** How the request ended, as nginx saw it. Raw facts: what they mean is decided in `outcome.ts`. */
export interface Report {
  readonly version: typeof CONTRACT_VERSION
  /** `ngx.status`: 499 when the client left before the reply's head. */
  readonly status: number
  /** `kong.response.get_source()`. */
  readonly source: 'service' | 'exit' | 'error'
  /** True when nginx picked an upstream address (`ngx.var.upstream_addr`), whether or not it answered. */
  readonly contacted: boolean
  /** Status of the upstream's last answer; absent when it sent no status line. */
  readonly upstream_status?: number
  /** Set only when an upstream that took the connection did not answer in time. */
  readonly timed_out?: true
  /** True when the whole reply was sent (`ngx.var.request_completion == "OK"`). */
  readonly completed: boolean
  /** Set only when the cause of an incomplete reply is known. */
  readonly broken_by?: 'client' | 'upstream'
  /** What body_filter saw when the plan had a `tap`. */
  readonly tap?: TapReport
}

/**
 * Checks what came out of `kong.ctx.shared`; undefined when llm-edge wrote nothing.
 * @throws {PortcullisError} `kong_context_malformed` naming the field, never its value.
 */
export function readFacts(value: unknown): Facts | undefined {
  if (value === undefined || value === null) return undefined
  const table = objectAt(value, FACTS_KEY)
  if (table.version !== CONTRACT_VERSION) throw malformed(`${FACTS_KEY}.version`)
  for (const key of ['request_id', 'method', 'path', 'address', 'body_in'] as const)
    if (typeof table[key] !== 'string' || table[key] === '') throw malformed(`${FACTS_KEY}.${key}`)
  for (const key of ['host', 'query', 'body_base64'] as const)
    if (table[key] !== undefined && typeof table[key] !== 'string') throw malformed(`${FACTS_KEY}.${key}`)
  if (typeof table.header_count !== 'number') throw malformed(`${FACTS_KEY}.header_count`)
  if (table.headers_truncated !== undefined && typeof table.headers_truncated !== 'boolean')
    throw malformed(`${FACTS_KEY}.headers_truncated`)
  checkBody(table)
  const headers = optionalObject(table.headers, `${FACTS_KEY}.headers`)
  if (headers !== undefined && !Object.values(headers).every((header) => typeof header === 'string'))
    throw malformed(`${FACTS_KEY}.headers`)
  for (const key of ['extra_headers', 'groups'] as const) checkStrings(table[key], `${FACTS_KEY}.${key}`)
  for (const key of ['consumer', 'route', 'service'] as const) {
    const entity = optionalObject(table[key], `${FACTS_KEY}.${key}`)
    if (entity !== undefined && typeof entity.id !== 'string') throw malformed(`${FACTS_KEY}.${key}.id`)
    checkMembers(entity, `${FACTS_KEY}.${key}`)
  }
  checkMembers(optionalObject(table.credential, `${FACTS_KEY}.credential`), `${FACTS_KEY}.credential`)
  return table as unknown as Facts
}

function checkBody(table: Readonly<Record<string, unknown>>): void {
  const size = table.body_size
  if (table.body_in === 'none') return
  if (table.body_in !== 'base64' && table.body_in !== 'raw') throw malformed(`${FACTS_KEY}.body_in`)
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size <= 0) throw malformed(`${FACTS_KEY}.body_size`)
  if (table.body !== undefined && !(table.body instanceof Uint8Array)) throw malformed(`${FACTS_KEY}.body`)
  if (table.body_in === 'base64' && (table.body ?? table.body_base64) === undefined)
    throw malformed(`${FACTS_KEY}.body_base64`)
}

const STRING_MEMBERS = ['id', 'name', 'username', 'custom_id', 'fingerprint'] as const

function checkMembers(entity: Readonly<Record<string, unknown>> | undefined, at: string): void {
  if (entity === undefined) return
  for (const key of STRING_MEMBERS)
    if (entity[key] !== undefined && typeof entity[key] !== 'string') throw malformed(`${at}.${key}`)
  if (entity.created_at !== undefined && typeof entity.created_at !== 'number') throw malformed(`${at}.created_at`)
  checkStrings(entity.tags, `${at}.tags`)
}

const SPACES = [' ', '\t', '\n', '\r'] as const
const VARIANTS = Array.from({ length: 256 }, (_, n) =>
  [n & 3, (n >> 2) & 3, (n >> 4) & 3, n >> 6].map((place) => SPACES[place]).join(''),
)
let turn = 0

/**
 * LuaJIT hashes a long string by its first, last and some middle bytes, so that many which differ in an id only share one
 * chain of its table of strings, and each new one is compared with all of them. JSON may begin and end with white space.
 */
export function varied(json: string): string {
  turn = (turn + 1) % 65_536
  return `${VARIANTS[turn & 255]}${json}${VARIANTS[turn >> 8]}`
}

export interface EntryParts {
  readonly plugin: string
  readonly pluginId: string
  readonly replyHeaders: Readonly<Record<string, string>>
  /** Text and protocol of a {@link TapWire}. */
  readonly tap: { readonly protocol: string; readonly text: string; readonly id?: string } | undefined
  readonly reservations: readonly Reservation[]
  /** Set where the entry goes to Lua as JSON itself. */
  readonly direct?: { knowsTap(id: string): boolean } | undefined
  readonly batch?: boolean
  readonly observes?: boolean
  readonly claims?: Claims | undefined
  readonly identity?: Identity | undefined
  /** Codes of what shadow mode held back. */
  readonly wouldReject?: readonly string[]
  readonly rule?: string | undefined
  readonly verdicts?: readonly PolicyVerdict[]
}

export function makeEntry(parts: EntryParts): PluginEntry {
  const replyHeaders = Object.entries(parts.replyHeaders).flat()
  return {
    version: CONTRACT_VERSION,
    mark: { plugin: parts.plugin, plugin_id: parts.pluginId },
    ...(replyHeaders.length === 0
      ? {}
      : { reply_headers: parts.direct ? replyHeaders : varied(JSON.stringify(replyHeaders)) }),
    ...tapOf(parts),
    ...(parts.reservations.length === 0 ? {} : { reservations: varied(JSON.stringify(parts.reservations)) }),
    ...(parts.claims === undefined ? {} : { claims: JSON.stringify(parts.claims) }),
    ...(parts.batch ? { batch: true as const } : {}),
    ...(parts.batch && parts.observes ? { observes: true as const } : {}),
    ...(parts.identity === undefined ? {} : { identity: JSON.stringify(parts.identity) }),
    ...(parts.wouldReject === undefined || parts.wouldReject.length === 0 ? {} : { would_reject: parts.wouldReject }),
    ...(parts.rule === undefined ? {} : { rule: parts.rule }),
    ...(parts.verdicts === undefined || parts.verdicts.length < 2 ? {} : { verdicts: JSON.stringify(parts.verdicts) }),
  }
}

function tapOf({ tap, direct }: EntryParts): Pick<PluginEntry, 'tap' | 'tap_id' | 'protocol'> {
  if (tap === undefined) return {}
  const { protocol, text, id } = tap
  if (direct === undefined || id === undefined) return { tap: text, protocol }
  return direct.knowsTap(id) ? { tap_id: id, protocol } : { tap: text, tap_id: id, protocol }
}

/**
 * The claims that an earlier plugin verified; undefined when it did not run or saw no token.
 * @throws {PortcullisError} `kong_context_malformed` naming the field, never its value.
 */
export function readClaims(plugin: string, value: unknown): Claims | undefined {
  if (value === undefined || value === null) return undefined
  const at = `${entryKey(plugin)}.claims`
  const { claims } = objectAt(value, entryKey(plugin))
  if (claims === undefined) return undefined
  if (typeof claims !== 'string') throw malformed(at)
  try {
    return objectAt(JSON.parse(claims), at)
  } catch {
    throw malformed(at)
  }
}

export interface ReadEntry {
  readonly reservations: readonly Reservation[]
  /** Protocol of the tap plan, by which the tap's report is read. */
  readonly protocol: string | undefined
  readonly report: Report | undefined
}

/**
 * Reads an entry back in the log phase; undefined when the plugin wrote none, because it refused or never ran.
 * @throws {PortcullisError} `kong_context_malformed` naming the field, never its value.
 */
export function readEntry(plugin: string, value: unknown): ReadEntry | undefined {
  if (value === undefined || value === null) return undefined
  const at = entryKey(plugin)
  const table = objectAt(value, at)
  if (table.version !== CONTRACT_VERSION) throw malformed(`${at}.version`)
  return {
    reservations: readReservations(table.reservations, `${at}.reservations`),
    protocol: readProtocol(table.protocol, `${at}.protocol`),
    report: readReport(table.report, `${at}.report`),
  }
}

function readProtocol(value: unknown, at: string): string | undefined {
  if (value !== undefined && typeof value !== 'string') throw malformed(at)
  return value
}

/** From their JSON text; none when it is absent. @throws {PortcullisError} `kong_context_malformed`. */
export function readReservations(value: unknown, at: string): readonly Reservation[] {
  if (value === undefined) return []
  if (typeof value !== 'string') throw malformed(at)
  let list: unknown
  try {
    list = JSON.parse(value)
  } catch {
    throw malformed(at)
  }
  if (!Array.isArray(list) || !list.every(isReservation)) throw malformed(at)
  return list
}

function isReservation(value: unknown): value is Reservation {
  if (typeof value !== 'object' || value === null) return false
  const { id, policy, estimated } = value as Partial<Reservation>
  return (
    typeof id === 'string' &&
    typeof policy === 'string' &&
    typeof estimated?.input === 'number' &&
    typeof estimated.output === 'number'
  )
}

/** @throws {PortcullisError} `kong_context_malformed` naming the field, never its value. */
export function readReport(value: unknown, at: string): Report | undefined {
  if (value === undefined) return undefined
  const table = objectAt(value, at)
  if (table.version !== CONTRACT_VERSION) throw malformed(`${at}.version`)
  if (typeof table.status !== 'number') throw malformed(`${at}.status`)
  if (table.source !== 'service' && table.source !== 'exit' && table.source !== 'error') throw malformed(`${at}.source`)
  if (typeof table.contacted !== 'boolean') throw malformed(`${at}.contacted`)
  if (typeof table.completed !== 'boolean') throw malformed(`${at}.completed`)
  if (table.upstream_status !== undefined && typeof table.upstream_status !== 'number')
    throw malformed(`${at}.upstream_status`)
  if (table.timed_out !== undefined && table.timed_out !== true) throw malformed(`${at}.timed_out`)
  if (table.broken_by !== undefined && table.broken_by !== 'client' && table.broken_by !== 'upstream')
    throw malformed(`${at}.broken_by`)
  // What the tap saw is judged where it is used, so that a bad one costs only itself.
  return table as unknown as Report
}

function objectAt(value: unknown, at: string): Readonly<Record<string, unknown>> {
  if (!isObject(value)) throw malformed(at)
  return value
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function optionalObject(value: unknown, at: string): Readonly<Record<string, unknown>> | undefined {
  // An empty Lua table arrives as an empty list.
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return undefined
  return objectAt(value, at)
}

function checkStrings(value: unknown, at: string): void {
  if (value === undefined) return
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) throw malformed(at)
}

/** Names the field, never its value. */
export function malformed(at: string): PortcullisError {
  return new PortcullisError('kong_context_malformed', `kong.ctx.shared: ${at} is not as the contract says`)
}
