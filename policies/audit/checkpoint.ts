/** Moves the beginning of a chain, so that files before it may be deleted. */

import { PortcullisError } from '../errors.ts'
import { type ChainPoint, type ChainSeal, lockPath, readSeal, sealPath, writeSeal } from './chain.ts'
import type { Files } from './ports.ts'

/** @throws {PortcullisError} `no_seal` when there is none that the key made. */
export async function sealOfFile(path: string, key: string, files: Pick<Files, 'readSmall'>): Promise<ChainSeal> {
  const seal = readSeal((await files.readSmall(sealPath(path))) ?? '', key)
  if (seal === undefined) throw new PortcullisError('no_seal', `${path}: has no seal that this key made`)
  return seal
}

/**
 * Writes into the seal of a file that records up to `end` are not needed any more; never back.
 * @param end the last record of files that were verified from the chain's beginning on
 * @returns false while another process writes the file.
 * @throws {PortcullisError} `no_seal`, and what the file system throws.
 */
export async function moveStart(
  path: string,
  end: ChainPoint,
  key: string,
  files: Pick<Files, 'readSmall' | 'writeSmall' | 'lock'>,
): Promise<boolean> {
  const unlock = await files.lock(lockPath(path))
  if (unlock === undefined) return false
  try {
    const { start, head } = await sealOfFile(path, key, files)
    if (end.seq > start.seq)
      await files.writeSmall(sealPath(path), writeSeal({ start: end, head: head.seq < end.seq ? end : head }, key))
    return true
  } finally {
    await unlock()
  }
}
