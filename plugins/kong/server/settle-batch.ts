/** `portcullis.Settle`: what `llm-edge` tells of requests that are over, many in one message (its `settle.lua`). */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { PortcullisError } from '../../../policies/errors.ts'
import type { Pipeline } from '../../../policies/pipeline.ts'
import { publish } from '../../../policies/telemetry.ts'
import { type EndedRequest, endingOf, loggedOf, loggedOfFacts, readTimes } from '../adapter/observe.ts'
import { outcomeSeen } from '../adapter/settle.ts'
import { readEnding, readRefusal } from '../ending.ts'
import type { Host } from '../host.ts'
import { CONTRACT_VERSION, isObject, readEntry, readReport } from '../shared-context.ts'
import type { KeptEntry, KeptRequest } from '../under-way.ts'
import { RpcError } from './instances.ts'

/** Requests that are begun in one turn of the event loop: those that wait for a decision should not wait for all. */
const A_TURN = 16

/** Starts a plugin with this config, which makes its pipeline known. */
export type StartPlugin = (plugin: string, config: string) => void

export interface SettleAnswer {
  /**
   * Places in the message, from 1 as Lua counts, of requests that this process did not let through, or of records whose
   * config it was never told.
   */
  readonly unknown: readonly number[]
}

/**
 * Resolves once all of it is settled. Settling is idempotent, so that the same message may come again.
 * @throws {RpcError} when it is no such message.
 */
export async function settleBatch(argument: unknown, host: Host, start: StartPlugin): Promise<SettleAnswer> {
  const { requests, configs, unheard } = readBatch(argument)
  publish('batch', () => ({ records: requests.length }))
  for (const { plugin, config } of configs) start(plugin, config)
  const unknown: number[] = []
  const settling = unheard.flatMap((one) => partsOfUnheard(one, host)).map((part) => settleSafely(part, host))
  for (const [index, request] of requests.entries()) {
    if (index > 0 && index % A_TURN === 0) await nextTurn()
    const parts = partsOf(request, host)
    if (parts === undefined) unknown.push(index + 1)
    else for (const part of parts) settling.push(settleSafely(part, host))
  }
  await Promise.all(settling)
  if (configs.length > 0 && unknown.length > 0)
    host.deps.logger.error('requests cannot be settled: their config is refused', { requests: unknown.length })
  return { unknown }
}

/** What one plugin has to do about the end of a request. */
interface Part {
  readonly plugin: string
  readonly settle: () => Promise<void>
}

function partsOf(request: ToldEnd | BatchRecord, host: Host): readonly Part[] | undefined {
  if ('plugins' in request) return partsOfKept(request, host)
  const pipeline = host.pipelines.find(request.plugin, request.pluginId)
  return pipeline && [{ plugin: request.plugin, settle: () => settleRecord(request, pipeline, host) }]
}

/** Never throws. */
async function settleSafely({ plugin, settle }: Part, host: Host): Promise<void> {
  try {
    await settle()
  } catch (error) {
    const code = error instanceof PortcullisError ? error.code : 'internal_error'
    host.deps.logger.error('settlement fault', { plugin, code })
    publish('fault', () => ({ where: `${plugin}.settle`, code }))
  }
}

/** A request that this process let through: all but its end is here. */
interface ToldEnd {
  readonly requestId: string
  /** Each with the config by which it decided. */
  readonly plugins: readonly { readonly plugin: string; readonly pluginId: string }[]
  readonly end: Readonly<Record<string, unknown>>
}

/** All of them or none, because who watches is told of all. */
function partsOfKept({ requestId, plugins, end }: ToldEnd, host: Host): readonly Part[] | undefined {
  const kept = host.underWay.find(requestId)
  if (kept === undefined) return undefined
  const parts: Part[] = []
  for (const { plugin, pluginId } of plugins) {
    const entry = kept.entries.find((one) => one.plugin === plugin && one.pluginId === pluginId)
    const pipeline = host.pipelines.find(plugin, pluginId)
    if (entry === undefined || pipeline === undefined) return undefined
    parts.push({ plugin, settle: () => settleKept({ kept, entry, end }, pipeline, host) })
  }
  host.underWay.forget(requestId)
  return parts
}

/** A request that Kong refused because it never heard of these plugins' decisions. */
interface Unheard {
  readonly requestId: string
  readonly plugins: readonly string[]
}

/** Only what is held: who watches is told by Kong that the request was refused. */
function partsOfUnheard({ requestId, plugins }: Unheard, host: Host): readonly Part[] {
  return plugins.flatMap((plugin) => {
    const entry = host.underWay.disown(requestId, plugin)
    if (entry === undefined || entry.reservations.length === 0) return []
    const pipeline = host.pipelines.find(plugin, entry.pluginId)
    const settle = async () => {
      if (pipeline === undefined) throw new PortcullisError('unknown_config', 'the config that decided is forgotten')
      await pipeline.settle(entry.reservations, { ended: 'not_forwarded' })
    }
    return [{ plugin, settle }]
  })
}

interface Kept {
  readonly kept: KeptRequest
  readonly entry: KeptEntry
  readonly end: ToldEnd['end']
}

async function settleKept({ kept, entry, end }: Kept, pipeline: Pipeline, host: Host): Promise<void> {
  const report = readReport(end.report, 'report')
  if (report === undefined) throw notOne()
  const outcome = outcomeSeen(report, entry.protocol)
  await pipeline.settle(entry.reservations, outcome)
  if (!pipeline.observes) return
  const ending = { report, refusal: readRefusal(end.refusal), entries: kept.entries }
  const times = readTimes(end.started_at, end.duration, end.upstream)
  const logged = loggedOfFacts(kept.facts, times, report.status)
  tell(entry.plugin, { ending, logged, outcome, reservations: entry.reservations }, pipeline, host)
}

/** Of one plugin, with everything that is needed to settle it. */
interface BatchRecord {
  readonly plugin: string
  readonly pluginId: string
  readonly entry: unknown
  /** For those who watch how requests end; absent when the plugin does not. */
  readonly seen: Readonly<Record<string, unknown>> | undefined
}

async function settleRecord({ plugin, entry, seen }: BatchRecord, pipeline: Pipeline, host: Host): Promise<void> {
  const { report, protocol, reservations } = readEntry(plugin, entry) ?? NO_ENTRY
  if (report === undefined) return
  const outcome = outcomeSeen(report, protocol)
  await pipeline.settle(reservations, outcome)
  if (seen === undefined || !pipeline.observes) return
  const ending = readEnding({ version: CONTRACT_VERSION, report, refusal: seen.refusal, entries: seen.entries })
  if (ending !== undefined) tell(plugin, { ending, logged: loggedOf(seen.data), outcome, reservations }, pipeline, host)
}

const NO_ENTRY = { report: undefined, protocol: undefined, reservations: [] }

/** Once: a batch may come twice. */
function tell(plugin: string, ended: EndedRequest, pipeline: Pipeline, { told, deps }: Host): void {
  // Of a request that the plugin never let through it holds nothing.
  const { requestId } = ended.logged
  const id = ended.reservations[0]?.id ?? (requestId === undefined ? undefined : `${plugin} ${requestId}`)
  if (id !== undefined && told.has(id)) return
  if (id !== undefined) told.add(id, deps.clock.monotonic())
  pipeline.observe(endingOf(ended))
}

interface Batch {
  readonly requests: readonly (ToldEnd | BatchRecord)[]
  readonly configs: readonly { readonly plugin: string; readonly config: string }[]
  readonly unheard: readonly Unheard[]
}

/** Text of JSON, and behind it the reservations of all records, one after the other. */
function readBatch(argument: unknown): Batch {
  if (!Array.isArray(argument) || argument.length !== 2) throw notOne()
  const [text, held] = argument as readonly unknown[]
  if (!Buffer.isBuffer(held)) throw notOne()
  const message = parse(text)
  if (!isObject(message) || message.version !== CONTRACT_VERSION) throw notOne()
  if (message.ended !== undefined && held.length === 0)
    return {
      requests: listOf(message.ended).map(readEnded),
      configs: [],
      unheard: listOf(message.unheard ?? []).map(readUnheard),
    }
  let at = 0
  const take = (bytes: number): string => {
    at += bytes
    return held.toString('utf8', at - bytes, at)
  }
  const requests = listOf(message.records).map((record) => readRecord(record, take))
  if (at !== held.length) throw notOne()
  return { requests, configs: listOf(message.configs).map(readConfig), unheard: [] }
}

function parse(argument: unknown): unknown {
  if (typeof argument !== 'string') throw notOne()
  try {
    return JSON.parse(argument)
  } catch {
    throw notOne()
  }
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw notOne()
  return value
}

function readEnded(value: unknown): ToldEnd {
  if (!isObject(value) || typeof value.request !== 'string' || !isObject(value.report)) throw notOne()
  const names = listOf(value.plugins)
  const plugins = names.flatMap((plugin, index) => (index % 2 === 0 ? [{ plugin, pluginId: names[index + 1] }] : []))
  if (!plugins.every(isPlugin)) throw notOne()
  return { requestId: value.request, plugins, end: value }
}

function readUnheard(value: unknown): Unheard {
  if (!isObject(value) || typeof value.request !== 'string') throw notOne()
  const plugins = listOf(value.plugins)
  if (!plugins.every((plugin) => typeof plugin === 'string')) throw notOne()
  return { requestId: value.request, plugins }
}

function isPlugin(value: Readonly<Record<'plugin' | 'pluginId', unknown>>): value is ToldEnd['plugins'][number] {
  return typeof value.plugin === 'string' && typeof value.pluginId === 'string'
}

function readRecord(value: unknown, take: (bytes: number) => string): BatchRecord {
  if (!isObject(value)) throw notOne()
  const { plugin, plugin_id: pluginId, protocol, held_bytes: bytes, report, seen } = value
  if (typeof plugin !== 'string' || typeof pluginId !== 'string') throw notOne()
  if (seen !== undefined && !isObject(seen)) throw notOne()
  if (bytes !== undefined && !(Number.isSafeInteger(bytes) && Number(bytes) > 0)) throw notOne()
  const reservations = bytes === undefined ? undefined : take(Number(bytes))
  return { plugin, pluginId, entry: { version: CONTRACT_VERSION, protocol, reservations, report }, seen }
}

function readConfig(value: unknown): { readonly plugin: string; readonly config: string } {
  if (!isObject(value)) throw notOne()
  const { plugin, config } = value
  if (typeof plugin !== 'string' || typeof config !== 'string') throw notOne()
  return { plugin, config }
}

function notOne(): RpcError {
  return new RpcError('not a batch of settlements')
}
