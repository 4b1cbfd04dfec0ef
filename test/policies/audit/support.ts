/** A clock that tests turn, a disk that can fill up, and records that mean nothing. */

import { basename, dirname } from 'node:path'
import type { AppendFile, Files, Outputs, PostReply, PostRequest } from '../../../policies/audit/ports.ts'
import type { AuditRecord } from '../../../policies/audit/record.ts'
import type { Clock } from '../../../policies/policy.ts'

export const START = Date.UTC(2026, 10, 23, 10, 0, 0)
export const CHAIN_KEY = 'a-chain-key-of-the-tests'

export interface TestClock extends Clock {
  /** Lets time pass, runs what is due, and lets what it started go on. */
  pass(ms: number): Promise<void>
  readonly waiting: number
}

export function createTestClock(start = START): TestClock {
  let now = start
  let timers: { readonly at: number; readonly task: () => void }[] = []
  return {
    now: () => now,
    monotonic: () => now,
    after(ms, task) {
      const timer = { at: now + ms, task }
      timers.push(timer)
      return () => {
        timers = timers.filter((one) => one !== timer)
      }
    },
    async pass(ms) {
      const until = now + ms
      await settle()
      for (;;) {
        const next = timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0]
        if (next === undefined) break
        timers = timers.filter((one) => one !== next)
        now = Math.max(now, next.at)
        next.task()
        await settle()
      }
      now = until
      await settle()
    },
    get waiting() {
      return timers.length
    },
  }
}

/** Lets everything that only waits for promises happen. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve()
  await new Promise((resolve) => setImmediate(resolve))
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve()
}

export interface Lines {
  readonly logger: { info: Log; warn: Log; error: Log }
  readonly lines: string[]
}
type Log = (message: string, fields?: Readonly<Record<string, unknown>>) => void

export function createLines(): Lines {
  const lines: string[] = []
  const at =
    (level: string): Log =>
    (message, fields) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`)
  return { lines, logger: { info: at('info'), warn: at('warn'), error: at('error') } }
}

export function makeRecord(number: number, more: Partial<AuditRecord> = {}): AuditRecord {
  return {
    schema: 'portcullis.audit/1',
    time: new Date(START + number).toISOString(),
    'portcullis.request.id': `request-${number}`,
    'portcullis.decision': 'pass',
    'portcullis.ended': 'complete',
    'portcullis.usage.source': 'reported',
    'gen_ai.usage.input_tokens': number,
    ...more,
  }
}

export class DiskError extends Error {
  readonly code: string
  constructor(code: string) {
    super('/secret/path: no space')
    this.code = code
  }
}

export interface TestDisk extends Files {
  readonly content: Map<string, Buffer>
  /** Bytes that still fit; what is beyond is written in part and then refused. */
  room: number
  /** Names of operations that fail now. */
  readonly failing: Set<string>
  /** Called after every operation that changes something; throwing from it is the end of the process. */
  onStep: (operation: string) => void
  text(path: string): string
}

/** Files in memory that behave as a disk does, its bad days included. */
export function createDisk(now: () => number): TestDisk {
  const content = new Map<string, Buffer>()
  const times = new Map<string, number>()
  const locks = new Set<string>()
  const check = (operation: string): void => {
    if (disk.failing.has(operation)) throw new DiskError('EIO')
  }
  function put(path: string, bytes: Buffer): void {
    content.set(path, bytes)
    times.set(path, now())
  }
  function grow(path: string, bytes: Uint8Array): void {
    const fitting = bytes.subarray(0, Math.max(0, disk.room))
    disk.room -= fitting.length
    put(path, Buffer.concat([content.get(path) ?? Buffer.alloc(0), fitting]))
    if (fitting.length < bytes.length) throw new DiskError('ENOSPC')
  }
  const disk: TestDisk = {
    content,
    room: Number.POSITIVE_INFINITY,
    failing: new Set(),
    onStep: () => undefined,
    text: (path) => content.get(path)?.toString() ?? '',
    async open(path) {
      check('open')
      if (!content.has(path)) put(path, Buffer.alloc(0))
      return openFile(path)
    },
    async rename(from, to) {
      check('rename')
      const bytes = content.get(from)
      if (bytes === undefined) throw new DiskError('ENOENT')
      put(to, bytes)
      content.delete(from)
      disk.onStep('rename')
    },
    async remove(path) {
      check('remove')
      disk.room += content.get(path)?.length ?? 0
      content.delete(path)
      disk.onStep('remove')
    },
    async list(directory) {
      return [...content]
        .filter(([path]) => dirname(path) === directory)
        .map(([path, bytes]) => ({ name: basename(path), size: bytes.length }))
    },
    readSmall: async (path) => content.get(path)?.toString(),
    async writeSmall(path, text) {
      check('writeSmall')
      put(path, Buffer.from(text))
      disk.onStep('writeSmall')
    },
    async lock(path) {
      if (locks.has(path)) return undefined
      locks.add(path)
      return async () => void locks.delete(path)
    },
  }
  function openFile(path: string): AppendFile {
    // As a descriptor does: the file may be renamed while it is open.
    const bytes = content.get(path) ?? Buffer.alloc(0)
    const current = (): string => [...content].find(([, held]) => held === latest)?.[0] ?? path
    let latest = bytes
    return {
      size: bytes.length,
      modifiedAt: times.get(path) ?? now(),
      async append(more) {
        check('append')
        const at = current()
        try {
          grow(at, more)
        } finally {
          latest = content.get(at) ?? latest
        }
        disk.onStep('append')
      },
      async truncate(size) {
        check('truncate')
        const at = current()
        disk.room += Math.max(0, latest.length - size)
        latest = latest.subarray(0, size)
        put(at, latest)
        disk.onStep('truncate')
      },
      read: async (from, length) => latest.subarray(from, from + length),
      close: async () => undefined,
    }
  }
  return disk
}

export interface TestOutputs extends Outputs {
  readonly posts: PostRequest[]
  readonly stdout: Buffer[]
  /** How many want to be told of {@link reopen}. */
  readonly listening: number
  reopen(): void
}

export interface TestOutputsOptions {
  readonly files: Files
  readonly post?: (request: PostRequest) => Promise<PostReply>
  readonly writeStdout?: (bytes: Uint8Array) => Promise<void>
}

export function createOutputs({ files, post, writeStdout }: TestOutputsOptions): TestOutputs {
  const posts: PostRequest[] = []
  const stdout: Buffer[] = []
  const listeners = new Set<() => void>()
  return {
    files,
    posts,
    stdout,
    writeStdout: async (bytes) => {
      await writeStdout?.(bytes)
      stdout.push(Buffer.from(bytes))
    },
    async post(request) {
      posts.push(request)
      return post === undefined ? { status: 200 } : post(request)
    },
    onReopen(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    get listening() {
      return listeners.size
    },
    reopen() {
      for (const listener of listeners) listener()
    },
  }
}

/** The same numbers every time, so that a failure can be run again (Numerical Recipes' generator). */
export function createDice(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
