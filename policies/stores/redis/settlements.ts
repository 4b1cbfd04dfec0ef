/** Settlements on their way to Redis: those of one turn of the event loop go together, a script run for many of them. */

import { hash as digest } from 'node:crypto'
import { nextTick } from 'node:process'
import type { PortcullisError } from '../../errors.ts'
import type { SettleEntry } from '../ports.ts'
import type { KeysAndArgs, RedisConnection } from './connection.ts'
import { failureOfReply, type RedisFailure, replyUnreadable } from './failure.ts'
import { placeOf } from './keys.ts'
import { scripts } from './scripts.ts'
import { specOf } from './spec.ts'

/** One entry after settling. `epoch` is 0 when there is no such counter. */
export interface Settled {
  readonly at: number
  readonly epoch: number
  readonly remaining: number
}

export interface Settlements {
  /**
   * Leaves with the others of this turn. The first entry's hash keeps the mark.
   * @returns whether it counted: false when this id was settled before
   * @param recover makes that of the failure, or throws
   */
  settle(id: string, entries: readonly SettleEntry[], recover: (failure: unknown) => boolean): Promise<boolean>
  /** Alone, and tells what became of the counters: undefined when this id was settled before. */
  settleAlone(id: string, entries: readonly SettleEntry[]): Promise<readonly Settled[] | undefined>
  /** Sends what waits, ahead of whatever is asked next. */
  flush(): void
}

/** A settlement in the words of `settle.lua.ts`. */
interface Written {
  readonly hash: string
  readonly mark: string
  readonly markField: number
  readonly entries: readonly { readonly hash: string; readonly field: string; readonly entry: SettleEntry }[]
}

interface Waiting extends Written {
  done(counted: boolean): void
  failed(failure: unknown): void
}

/** What one script run holds at most, a tenth of a millisecond for Redis; one settlement alone may have more entries. */
const MOST_SETTLEMENTS = 32
const MOST_ENTRIES = 96
/** Marks are spread over so many fields of eight each: about so many settlements times eight are remembered. */
const CALLER_MARK_FIELDS = 16
const SHARED_MARK_FIELDS = 256
const MARK_LENGTH = 8
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

export interface SettlementsOptions {
  readonly prefix: string
  /** For the scripts: '' for Redis's own. */
  time(): number | ''
}

export function createSettlements(connection: RedisConnection, { prefix, time }: SettlementsOptions): Settlements {
  // In a cluster by the hash, which lies on one node; else all of them by ''. In the order in which they came.
  let waiting = new Map<string, Waiting[]>()

  function settle(
    id: string,
    entries: readonly SettleEntry[],
    recover: (failure: unknown) => boolean,
  ): Promise<boolean> {
    const written = write(id, entries)
    return new Promise((resolve, reject) => {
      add({
        ...written,
        done: resolve,
        failed(failure) {
          try {
            resolve(recover(failure))
          } catch (error) {
            reject(error)
          }
        },
      })
    })
  }

  function add(settlement: Waiting): void {
    const together = connection.clustered ? settlement.hash : ''
    if (waiting.size === 0) nextTick(flush)
    const others = waiting.get(together)
    if (others === undefined) waiting.set(together, [settlement])
    else others.push(settlement)
  }

  function flush(): void {
    if (waiting.size === 0) return
    const leaving = waiting
    waiting = new Map()
    for (const settlements of leaving.values()) for (const run of runsOf(settlements)) send(run)
  }

  function send(run: readonly Waiting[]): void {
    const failed = (failure: unknown) => fail(run, failure)
    try {
      connection.ask(scripts.settle, argumentsOf(run, false), (reply) => answer(run, reply), failed).catch(failed)
    } catch (error) {
      failed(error)
    }
  }

  async function settleAlone(id: string, entries: readonly SettleEntry[]): Promise<readonly Settled[] | undefined> {
    flush()
    const reply = await connection.ask(scripts.settle, argumentsOf([write(id, entries)], true), valuesOf, raise)
    return reply[0] === 0 ? undefined : readSettled(reply, entries)
  }

  /** @throws {PortcullisError} `invalid_argument` */
  function write(id: string, entries: readonly SettleEntry[]): Written {
    const written: { hash: string; field: string; entry: SettleEntry }[] = []
    let first = ''
    for (const entry of entries) {
      const { hash, field } = placeOf(prefix, entry)
      if (first === '') first = hash
      if (entry.actual !== entry.reserved) written.push({ hash, field, entry })
    }
    const [markField, mark] = markOf(id, entries[0]?.caller === undefined)
    return { hash: first, mark, markField, entries: written }
  }

  function argumentsOf(run: readonly Written[], telling: boolean): KeysAndArgs {
    const hashes = new Map<string, number>()
    const fields: string[] = []
    const known = new Map<string, number>()
    const specs: number[] = []
    const numbers: number[] = []
    let marks = ''

    function hashNumber(hash: string): number {
      const number = hashes.get(hash)
      if (number !== undefined) return number
      hashes.set(hash, hashes.size + 1)
      return hashes.size
    }

    /** Most callers have the same counters. */
    function counterNumber(field: string, { counter }: SettleEntry): number {
      const spec = specOf(counter)
      const number = known.get(field)
      if (number !== undefined && spec.every((value, index) => value === specs[(number - 1) * spec.length + index]))
        return number
      specs.push(...spec)
      known.set(field, fields.push(field))
      return fields.length
    }

    for (const { hash, mark, markField, entries } of run) {
      marks += mark
      numbers.push(hashNumber(hash), markField, entries.length)
      for (const { hash, field, entry } of entries) {
        const { actual, reserved, at, epoch } = entry
        numbers.push(hashNumber(hash), counterNumber(field, entry), actual - reserved, at, epoch)
      }
    }
    const json = JSON.stringify([telling ? 1 : 0, fields.length, ...specs, ...numbers])
    return [hashes.size, ...hashes.keys(), time(), json, marks, ...fields]
  }

  return { settle, settleAlone, flush }
}

function runsOf(settlements: readonly Waiting[]): readonly (readonly Waiting[])[] {
  const runs: Waiting[][] = []
  let run: Waiting[] = []
  let entries = 0
  for (const settlement of settlements) {
    const more = entries + settlement.entries.length
    if (run.length === 0 || run.length >= MOST_SETTLEMENTS || more > MOST_ENTRIES) {
      run = [settlement]
      runs.push(run)
      entries = settlement.entries.length
    } else {
      run.push(settlement)
      entries = more
    }
  }
  return runs
}

function answer(run: readonly Waiting[], reply: unknown): void {
  if (!Array.isArray(reply) || reply.length !== run.length) {
    fail(run, replyUnreadable())
    return
  }
  for (let index = 0; index < run.length; index++) {
    const outcome: unknown = reply[index]
    const settlement = run[index] as Waiting
    if (outcome === 1 || outcome === 0) settlement.done(outcome === 1)
    else settlement.failed(failureIn(outcome))
  }
}

function fail(run: readonly Waiting[], failure: unknown): void {
  for (const settlement of run) settlement.failed(failure)
}

function failureIn(outcome: unknown): RedisFailure | PortcullisError {
  return typeof outcome === 'string' ? failureOfReply(outcome) : replyUnreadable()
}

function valuesOf(reply: unknown): readonly number[] {
  if (!Array.isArray(reply)) throw replyUnreadable()
  return reply as readonly number[]
}

function readSettled(values: readonly number[], entries: readonly SettleEntry[]): readonly Settled[] {
  let at = 1
  return entries.map(({ actual, reserved }) => {
    if (actual === reserved) return { at: 0, epoch: 0, remaining: 0 }
    at += 3
    return { at: values[at - 3] ?? 0, epoch: values[at - 2] ?? 0, remaining: values[at - 1] ?? 0 }
  })
}

/**
 * The number of the field and the text that stand for a settlement, from the last byte and the first six of SHA-256. Ids
 * of the same field push each other out after eight.
 */
export function markOf(id: string, shared: boolean): [number, string] {
  const text = digest('sha256', id, 'base64url')
  // The last two digits end with the last byte and two zeros.
  const last = (BASE64URL.indexOf(text.charAt(41)) * 64 + BASE64URL.indexOf(text.charAt(42))) >> 2
  return [last % (shared ? SHARED_MARK_FIELDS : CALLER_MARK_FIELDS), text.slice(0, MARK_LENGTH)]
}

function raise(failure: unknown): never {
  throw failure
}
