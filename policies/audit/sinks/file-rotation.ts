/** Names of rotated files, and which of them go. */

import { basename, dirname } from 'node:path'
import { readLine } from '../chain.ts'
import type { Files } from '../ports.ts'
import type { FileOptions, FileTools } from './file.ts'
import type { ChainKeeper } from './file-chain.ts'
import { lastLine } from './last-line.ts'

/** `audit.ndjson.20261123T094500Z-0001`: names sort as the files were written. */
const ROTATED = /^\.(\d{8}T\d{6}Z)-(\d{4})$/

/** Behind every earlier one, also within a second, after a deletion, or when the clock has been set back. */
export async function rotatedName(path: string, now: number, files: Files): Promise<string> {
  const [, newest = '', number = '0'] = ROTATED.exec((await rotatedSuffixes(path, files)).at(-1) ?? '') ?? []
  const stamp = stampOf(now)
  return stamp > newest ? suffixed(path, stamp, 1) : suffixed(path, newest, Number(number) + 1)
}

/** Oldest first. */
async function rotatedSuffixes(path: string, files: Files): Promise<readonly string[]> {
  return (await files.list(dirname(path)))
    .filter(({ name }) => name.startsWith(basename(path)))
    .map(({ name }) => name.slice(basename(path).length))
    .filter((suffix) => ROTATED.test(suffix))
    .sort()
}

/** Undefined when there is nothing at `path`, or nothing in it. */
export async function asideName(path: string, now: number, files: Files): Promise<string | undefined> {
  const entries = await files.list(dirname(path))
  if (!entries.some(({ name, size }) => name === basename(path) && size > 0)) return undefined
  const taken = new Set(entries.map(({ name }) => name))
  for (let number = 1; ; number += 1) {
    const name = `${suffixed(path, stampOf(now), number)}.aside`
    if (!taken.has(basename(name))) return name
  }
}

function suffixed(path: string, stamp: string, number: number): string {
  return `${path}.${stamp}-${String(number).padStart(4, '0')}`
}

function stampOf(now: number): string {
  return new Date(now).toISOString().replace(/[-:]|\.\d+/g, '')
}

/** Deletes the oldest rotated files; of a chain only those whose end is known, and the seal says so first. */
export async function pruneRotated(
  { path, keep, chainKey }: FileOptions,
  chain: ChainKeeper | undefined,
  tools: FileTools,
): Promise<void> {
  if (keep === 0) return
  const { files } = tools.outputs
  for (const suffix of (await rotatedSuffixes(path, files)).slice(0, -keep)) {
    const old = path + suffix
    if (chain !== undefined && chainKey !== undefined) {
      const end = await endOf(old, chainKey, files)
      if (end === undefined) {
        tools.warn('an old audit file stays, because its last record is not what was written', { suffix })
        return
      }
      chain.startAt({ seq: end.seq, mac: end.mac })
      await chain.save()
    }
    await files.remove(old)
  }
}

async function endOf(path: string, key: string, files: Files) {
  const file = await files.open(path)
  try {
    const { line } = await lastLine(file)
    return line === undefined ? undefined : readLine(line, key)
  } finally {
    await file.close()
  }
}
