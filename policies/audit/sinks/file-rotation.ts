/** Names of rotated files, and which of them go. */

import { basename, dirname, join } from 'node:path'
import { readLine } from '../chain.ts'
import type { FileEntry, Files } from '../ports.ts'
import type { FileOptions, FileTools } from './file.ts'
import type { ChainKeeper } from './file-chain.ts'
import { lastLine } from './last-line.ts'

/** `audit.ndjson.20261123T094500Z-0001`: names sort as the files were written, up to 9999 of one second. */
const ROTATED = /\.(\d{8}T\d{6}Z)-(\d{4,15})$/

interface Rotated {
  readonly name: string
  readonly stamp: string
  readonly number: number
}

/** The file that is written to, by its own path or that of a rotated one. */
export function unrotated(path: string): string {
  return path.replace(ROTATED, '')
}

/** Behind every earlier one, also within a second, after a deletion, or when the clock has been set back. */
export async function rotatedName(path: string, now: number, files: Files): Promise<string> {
  const entries = await files.list(dirname(path))
  const newest = rotatedOf(path, entries).at(-1)
  const stamp = stampOf(now)
  return newest === undefined || stamp > newest.stamp
    ? freeName(entries, (number) => suffixed(path, stamp, number))
    : freeName(entries, (number) => suffixed(path, newest.stamp, newest.number + number))
}

/** Oldest first. */
function rotatedOf(path: string, entries: readonly FileEntry[]): readonly Rotated[] {
  return entries
    .filter(({ name }) => name !== basename(path) && unrotated(name) === basename(path))
    .map(({ name }) => {
      const [, stamp = '', number = ''] = ROTATED.exec(name) ?? []
      return { name, stamp, number: Number(number) }
    })
    .sort((a, b) => (a.stamp === b.stamp ? a.number - b.number : a.stamp < b.stamp ? -1 : 1))
}

/** The first that no file has: a rename would overwrite it. */
function freeName(entries: readonly FileEntry[], nameOf: (number: number) => string): string {
  const taken = new Set(entries.map(({ name }) => name))
  for (let number = 1; ; number += 1) {
    const name = nameOf(number)
    if (!taken.has(basename(name))) return name
  }
}

/** Undefined when there is nothing at `path`, or nothing in it. */
export async function asideName(path: string, now: number, files: Files): Promise<string | undefined> {
  const entries = await files.list(dirname(path))
  if (!entries.some(({ name, size }) => name === basename(path) && size > 0)) return undefined
  return freeName(entries, (number) => `${suffixed(path, stampOf(now), number)}.aside`)
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
  for (const { name } of rotatedOf(path, await files.list(dirname(path))).slice(0, -keep)) {
    const old = join(dirname(path), name)
    if (chain !== undefined && chainKey !== undefined) {
      const end = await endOf(old, chainKey, files)
      if (end === undefined) {
        tools.warn('an old audit file stays, because its last record is not what was written', {
          suffix: name.slice(basename(path).length),
        })
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
