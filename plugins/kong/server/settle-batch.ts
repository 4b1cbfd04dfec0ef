/** `portcullis.Settle`: what `llm-edge` tells of requests that are over, many in one message (its `settle.lua`). */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { PortcullisError } from '../../../policies/errors.ts'
import type { Pipeline } from '../../../policies/pipeline.ts'
import { publish } from '../../../policies/telemetry.ts'
import { endingOf, loggedOf } from '../adapter/observe.ts'
import { outcomeSeen } from '../adapter/settle.ts'
import { readEnding } from '../ending.ts'
import type { Host } from '../host.ts'
import { CONTRACT_VERSION, isObject, readEntry } from '../shared-context.ts'
import { RpcError } from './instances.ts'

/** Records that are begun in one turn of the event loop: requests that wait for a decision should not wait for all. */
const A_TURN = 16

/** Starts a plugin with this config, which makes its pipeline known. */
export type StartPlugin = (plugin: string, config: string) => void

export interface SettleAnswer {
  /** Places in the message, from 1 as Lua counts, of records whose config this process was never told. */
  readonly unknown: readonly number[]
}

interface BatchRecord {
  readonly plugin: string
  readonly pluginId: string
  readonly entry: unknown
  /** For those who watch how requests end; absent when the plugin does not. */
  readonly seen: Readonly<Record<string, unknown>> | undefined
}

/**
 * Resolves once all of it is settled. Settling is idempotent, so that the same message may come again.
 * @throws {RpcError} when it is no such message.
 */
export async function settleBatch(argument: unknown, host: Host, start: StartPlugin): Promise<SettleAnswer> {
  const { records, configs } = readBatch(argument)
  publish('batch', () => ({ records: records.length }))
  for (const { plugin, config } of configs) start(plugin, config)
  const unknown: number[] = []
  const settling: Promise<void>[] = []
  for (const [index, record] of records.entries()) {
    if (index > 0 && index % A_TURN === 0) await nextTurn()
    const pipeline = host.pipelines.find(record.plugin, record.pluginId)
    if (pipeline === undefined) unknown.push(index + 1)
    else settling.push(settleSafely(record, pipeline, host))
  }
  await Promise.all(settling)
  if (configs.length > 0 && unknown.length > 0)
    host.deps.logger.error('requests cannot be settled: their config is refused', { requests: unknown.length })
  return { unknown }
}

/** Never throws. */
async function settleSafely(record: BatchRecord, pipeline: Pipeline, host: Host): Promise<void> {
  try {
    await settleOne(record, pipeline, host)
  } catch (error) {
    const code = error instanceof PortcullisError ? error.code : 'internal_error'
    host.deps.logger.error('settlement fault', { plugin: record.plugin, code })
    publish('fault', () => ({ where: `${record.plugin}.settle`, code }))
  }
}

async function settleOne({ plugin, entry, seen }: BatchRecord, pipeline: Pipeline, host: Host): Promise<void> {
  const { report, protocol, reservations } = readEntry(plugin, entry) ?? NO_ENTRY
  if (report === undefined) return
  const outcome = outcomeSeen(report, protocol)
  await pipeline.settle(reservations, outcome)
  if (seen === undefined || !pipeline.observes) return
  const ending = readEnding({ version: CONTRACT_VERSION, report, refusal: seen.refusal, entries: seen.entries })
  const [first] = reservations
  if (ending === undefined || (first !== undefined && host.told.has(first.id))) return
  if (first !== undefined) host.told.add(first.id, host.deps.clock.monotonic())
  pipeline.observe(endingOf({ ending, logged: loggedOf(seen.data), outcome, reservations }))
}

const NO_ENTRY = { report: undefined, protocol: undefined, reservations: [] }

/** Text of JSON, and behind it the reservations of all records, one after the other. */
function readBatch(argument: unknown) {
  if (!Array.isArray(argument) || argument.length !== 2) throw notOne()
  const [text, held] = argument as readonly unknown[]
  if (!Buffer.isBuffer(held)) throw notOne()
  const message = parse(text)
  if (!isObject(message) || message.version !== CONTRACT_VERSION) throw notOne()
  let at = 0
  const take = (bytes: number): string => {
    at += bytes
    return held.toString('utf8', at - bytes, at)
  }
  const records = listOf(message.records).map((record) => readRecord(record, take))
  if (at !== held.length) throw notOne()
  return { records, configs: listOf(message.configs).map(readConfig) }
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
