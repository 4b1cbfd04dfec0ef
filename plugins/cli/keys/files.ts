/** Files that hold secrets: made for their owner alone, replaced as a whole, never through a link somebody put there. */

import { createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, realpath, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { PortcullisError } from '../../../policies/errors.ts'
import { systemFiles } from '../../outputs.ts'

/** Far above any real file of keys. */
export const MAX_FILE_BYTES = 32 * 1024 * 1024

export interface ReadFile {
  /** Where it really is. */
  readonly path: string
  readonly text: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly digest: string
}

/** @throws {PortcullisError} `unreadable_file`; its message never quotes the file. */
export async function readWhole(path: string): Promise<ReadFile> {
  const real = await realpath(path).catch((error: unknown) => {
    throw unreadable(path, reasonOf(error))
  })
  const handle = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: unknown) => {
      throw unreadable(path, reasonOf(error))
    },
  )
  try {
    const stat = await handle.stat()
    const { mode, uid, gid } = stat
    if (!stat.isFile()) throw unreadable(path, 'is no regular file')
    if (stat.size > MAX_FILE_BYTES) throw unreadable(path, `is larger than ${MAX_FILE_BYTES} bytes`)
    const bytes = await handle.readFile()
    return { path: real, text: decode(bytes, path), mode: mode & 0o7777, uid, gid, digest: digestOf(bytes) }
  } finally {
    await handle.close()
  }
}

/**
 * Replaces a file that is still as it was read, keeping mode and owner.
 * @throws {PortcullisError} `file_changed`, `file_busy`, `unwritable_file`
 */
export async function replaceWhole(read: ReadFile, text: string): Promise<ReadFile> {
  const release = await takeLock(read.path)
  const temporary = `${read.path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const bytes = Buffer.from(text)
    const handle = await open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(bytes)
      await handOver(handle, read)
      await handle.sync()
    } finally {
      await handle.close()
    }
    const now = await readWhole(read.path)
    if (now.digest !== read.digest)
      throw new PortcullisError('file_changed', `${read.path}: was changed by somebody else meanwhile; run it again`)
    await rename(temporary, read.path)
    await syncDirectory(dirname(read.path))
    return { ...read, text, digest: digestOf(bytes) }
  } catch (error) {
    if (error instanceof PortcullisError) throw error
    throw new PortcullisError('unwritable_file', `${read.path}: ${reasonOf(error)}`)
  } finally {
    await rm(temporary, { force: true })
    await release()
  }
}

async function takeLock(path: string): Promise<() => Promise<void>> {
  const release = await systemFiles.lock(`${path}.lock`).catch((error: unknown) => {
    throw new PortcullisError('unwritable_file', `${path}: ${reasonOf(error)}`)
  })
  if (release === undefined)
    throw new PortcullisError('file_busy', `${path}: another portcullis command is writing it; run it again`)
  return release
}

/** Only root may give a file away; anybody else's file was their own before. */
async function handOver(handle: FileHandle, { mode, uid, gid }: ReadFile): Promise<void> {
  const own = await handle.stat()
  if (own.uid !== uid || own.gid !== gid) await handle.chown(uid, gid)
  await handle.chmod(mode)
}

/**
 * A file that was not there before, for its owner alone.
 * @throws {PortcullisError} `file_exists`, also for a link that points nowhere; `unwritable_file`
 */
export async function createPrivate(path: string): Promise<FileHandle> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  try {
    const handle = await open(path, flags, 0o600)
    await handle.chmod(0o600)
    return handle
  } catch (error) {
    if (codeOf(error) === 'EEXIST')
      throw new PortcullisError('file_exists', `${path}: is there already and is not overwritten`)
    throw new PortcullisError('unwritable_file', `${path}: ${reasonOf(error)}`)
  }
}

/** As {@link createPrivate}, with its text, which is there as a whole or not at all. */
export async function writeNew(path: string, text: string): Promise<void> {
  const handle = await createPrivate(path)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } catch (error) {
    await rm(path, { force: true })
    throw new PortcullisError('unwritable_file', `${path}: ${reasonOf(error)}`)
  } finally {
    await handle.close()
  }
  await syncDirectory(dirname(path))
}

/**
 * A secret that this machine's other users must not be able to read.
 * @throws {PortcullisError} `open_to_others`, `unreadable_file`
 */
export async function readPrivate(path: string): Promise<string> {
  const { text, mode } = await readWhole(path)
  if ((mode & 0o027) !== 0)
    throw new PortcullisError('open_to_others', `${path}: others may read or change it; run: chmod 600 ${path}`)
  return text
}

export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function decode(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw unreadable(path, 'is no UTF-8')
  }
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('base64')
}

function unreadable(path: string, why: string): PortcullisError {
  return new PortcullisError('unreadable_file', `${path}: ${why}`)
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'is not there',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  ELOOP: 'is a symbolic link',
  EISDIR: 'is a directory',
  ENOSPC: 'no space left',
  EROFS: 'read-only file system',
}

export function reasonOf(error: unknown): string {
  const code = codeOf(error)
  return code === undefined ? 'failed' : (REASONS[code] ?? code)
}
