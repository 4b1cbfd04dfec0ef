/**
 * Records in a file, one a line, rotated by size and day. The file is locked and open only while records are being
 * written, so that another process may take over, and whoever moves the file away is noticed within a second.
 */

import type { ChainPoint } from '../chain.ts'
import { lockPath, sealLine } from '../chain.ts'
import type { AppendFile, Outputs } from '../ports.ts'
import { type ChainKeeper, keepChain } from './file-chain.ts'
import { pruneRotated, rotatedName } from './file-rotation.ts'
import { lastLine } from './last-line.ts'
import { RetryLater, type Target } from './target.ts'

export interface FileOptions {
  readonly path: string
  readonly maxBytes: number
  readonly daily: boolean
  /** Rotated files that stay; 0 keeps all. */
  readonly keep: number
  /** Absent: no chain. */
  readonly chainKey?: string
}

export interface FileTools {
  readonly outputs: Pick<Outputs, 'files' | 'onReopen'>
  /** Epoch milliseconds. */
  now(): number
  warn(message: string, fields: Readonly<Record<string, unknown>>): void
}

const DAY_MS = 86_400_000
/** Longest time that one writer holds the file while others may wait. */
const HOLD_MS = 1_000
const LOCKED_RETRY_MS = 100

interface Opened {
  readonly file: AppendFile
  readonly unlock: () => Promise<void>
  readonly since: number
  size: number
  day: number
  readonly chain: ChainKeeper | undefined
}

export function fileTarget(options: FileOptions, tools: FileTools): Target {
  const { files } = tools.outputs
  let opened: Opened | undefined
  let reopen = false
  const forgetReopen = tools.outputs.onReopen(() => {
    reopen = true
  })

  async function open(): Promise<Opened> {
    const unlock = await files.lock(lockPath(options.path))
    if (unlock === undefined)
      throw new RetryLater('audit_file_locked', 'Another process writes this file.', LOCKED_RETRY_MS)
    let file: AppendFile | undefined
    try {
      const chain = options.chainKey === undefined ? undefined : await keepChain(options, options.chainKey, tools)
      file = await files.open(options.path)
      const size = await endWithLine(file, chain !== undefined)
      if (chain !== undefined) await chain.join(file, size)
      const day = dayOf(size > 0 ? file.modifiedAt : tools.now())
      return { file, unlock, since: tools.now(), size, day, chain }
    } catch (error) {
      await file?.close()
      await unlock()
      throw error
    }
  }

  /** A line that a crash cut short: ended, or, where it would break a chain, taken out. */
  async function endWithLine(file: AppendFile, chained: boolean): Promise<number> {
    const { end } = await lastLine(file)
    if (end === file.size) return file.size
    tools.warn('an audit file ended in the middle of a line', { bytes: file.size - end })
    if (chained) {
      await file.truncate(end)
      return end
    }
    await file.append(Buffer.from('\n'))
    return file.size + 1
  }

  async function release(): Promise<void> {
    const held = opened
    opened = undefined
    reopen = false
    if (held === undefined) return
    try {
      await held.file.close()
    } finally {
      await held.unlock()
    }
  }

  async function rotate(held: Opened): Promise<Opened> {
    await held.chain?.save()
    const to = await rotatedName(options.path, tools.now(), files)
    await held.file.close()
    try {
      await files.rename(options.path, to)
      const file = await files.open(options.path)
      opened = { ...held, file, size: file.size, day: dayOf(tools.now()) }
    } catch (error) {
      opened = undefined
      await held.unlock()
      throw error
    }
    const next = opened
    await quietly(() => pruneRotated(options, next.chain, tools), 'old audit files could not be deleted')
    return next
  }

  function isDue(held: Opened, bytes: number): boolean {
    if (held.size === 0) return false
    return held.size + bytes > options.maxBytes || (options.daily && dayOf(tools.now()) !== held.day)
  }

  async function deliver(lines: readonly string[]): Promise<number> {
    if (reopen) await release()
    try {
      opened ??= await open()
      let held = opened
      const first = renderOne(lines[0] ?? '', held.chain?.head, options.chainKey)
      if (isDue(held, first.bytes.length)) held = await rotate(held)
      await held.chain?.save()
      const { pieces, head, size } = render(lines, held, options)
      await appendOrUndo(held, pieces)
      held.size += size
      if (head !== undefined) held.chain?.advance(head)
      await afterwards(held)
      return pieces.length
    } catch (error) {
      await quietly(release, 'an audit file could not be closed')
      throw error
    }
  }

  /** The records are safe already: whatever fails here must not have them written twice. */
  async function afterwards(held: Opened): Promise<void> {
    // One that lags behind is written again before the next records.
    await quietly(async () => held.chain?.save(), 'the seal of an audit chain could not be written yet')
    if (tools.now() - held.since >= HOLD_MS) await quietly(release, 'an audit file could not be closed')
  }

  async function quietly(step: () => Promise<void>, complaint: string): Promise<void> {
    try {
      await step()
    } catch {
      tools.warn(complaint, {})
    }
  }

  async function appendOrUndo(held: Opened, pieces: readonly Uint8Array[]): Promise<void> {
    try {
      await held.file.append(Buffer.concat(pieces))
    } catch (error) {
      // A full disk may have taken a part; what cannot be undone now is when the file is opened again.
      await quietly(() => held.file.truncate(held.size), 'an audit file could not be cut back')
      throw error
    }
  }

  return { name: 'audit.file', deliver, idle: release, close: async () => forgetReopen() }
}

interface Rendered {
  readonly bytes: Uint8Array
  readonly head: ChainPoint | undefined
}

function renderOne(json: string, before: ChainPoint | undefined, key: string | undefined): Rendered {
  if (before === undefined || key === undefined) return { bytes: Buffer.from(`${json}\n`), head: undefined }
  const { line, after } = sealLine(json, before, key)
  return { bytes: Buffer.from(`${line}\n`), head: after }
}

/** As many lines as the file has room for, at least one. */
function render(lines: readonly string[], held: Opened, options: FileOptions) {
  const pieces: Uint8Array[] = []
  let head = held.chain?.head
  let size = 0
  for (const json of lines) {
    const next = renderOne(json, head, options.chainKey)
    if (pieces.length > 0 && held.size + size + next.bytes.length > options.maxBytes) break
    pieces.push(next.bytes)
    head = next.head
    size += next.bytes.length
  }
  return { pieces, head, size }
}

function dayOf(time: number): number {
  return Math.floor(time / DAY_MS)
}
