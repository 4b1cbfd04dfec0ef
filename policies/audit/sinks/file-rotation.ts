/** Names of rotated files, and which of them go. */

import { basename, dirname, join } from 'node:path'
import { readLine } from '../chain.ts'
import type { Files } from '../ports.ts'
import type { FileOptions, FileTools } from './file.ts'
import type { ChainKeeper } from './file-chain.ts'
import { lastLine } from './last-line.ts'

/** `audit.ndjson.20261123T094500Z-01`: names sort by time. */
const ROTATED = /^\.\d{8}T\d{6}Z-\d{2,6}$/

export async function rotatedName(path: string, now: number, files: Files): Promise<string> {
  const names = new Set((await files.list(dirname(path))).map(({ name }) => name))
  return freeName(path, now, '', names)
}

/** Undefined when there is nothing at `path`, or nothing in it. */
export async function asideName(path: string, now: number, files: Files): Promise<string | undefined> {
  const entries = await files.list(dirname(path))
  if (!entries.some(({ name, size }) => name === basename(path) && size > 0)) return undefined
  return freeName(path, now, '.aside', new Set(entries.map(({ name }) => name)))
}

function freeName(path: string, now: number, suffix: string, taken: ReadonlySet<string>): string {
  const stamp = new Date(now).toISOString().replace(/[-:]|\.\d+/g, '')
  for (let number = 1; ; number += 1) {
    const name = `${path}.${stamp}-${String(number).padStart(2, '0')}${suffix}`
    if (!taken.has(basename(name))) return name
  }
}

/** Deletes the oldest rotated files; of a chain only those whose end is known, and the seal says so first. */
export async function pruneRotated(
  { path, keep, chainKey }: FileOptions,
  chain: ChainKeeper | undefined,
  tools: FileTools,
): Promise<void> {
  if (keep === 0) return
  const { files } = tools.outputs
  const rotated = (await files.list(dirname(path)))
    .map(({ name }) => name)
    .filter((name) => name.startsWith(basename(path)) && ROTATED.test(name.slice(basename(path).length)))
    .sort()
  for (const name of rotated.slice(0, -keep)) {
    const old = join(dirname(path), name)
    if (chain !== undefined && chainKey !== undefined) {
      const end = await endOf(old, chainKey, files)
      if (end === undefined) {
        tools.warn('an old audit file stays, because its last record is not what was written', { suffix: name })
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
