/** Files, standard output and HTTP for audit sinks. */

import { randomBytes } from 'node:crypto'
import { constants, write } from 'node:fs'
import { type FileHandle, link, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AppendFile, Files, Outputs, PostReply } from '../policies/audit/ports.ts'
import { PortcullisError } from '../policies/errors.ts'

const MODE = 0o600
const STDOUT = 1
/** A holder writes for a second or two at a time; one that holds for so long is not alive any more. */
const STALE_LOCK_MS = 60_000
/** A standard output that cannot take more. */
const AGAIN_MS = 20

export const systemFiles: Files = {
  open: openForAppend,
  rename,
  remove: (path) => rm(path),
  async list(directory) {
    const entries = await readdir(directory, { withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile())
    return Promise.all(files.map(async ({ name }) => ({ name, size: await sizeOf(join(directory, name)) })))
  },
  async readSmall(path) {
    try {
      return await readFile(path, 'utf8')
    } catch (error) {
      if (isCode(error, 'ENOENT')) return undefined
      throw error
    }
  },
  async writeSmall(path, text) {
    const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
    try {
      await writeFile(temporary, text, { mode: MODE, flag: 'wx', flush: true })
      await rename(temporary, path)
    } catch (error) {
      await rm(temporary, { force: true })
      throw error
    }
  },
  lock,
}

async function openForAppend(path: string): Promise<AppendFile> {
  // Never through a symbolic link that somebody put in its place.
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW
  const handle = await open(path, flags, MODE)
  try {
    const { size, mtimeMs, mode } = await handle.stat()
    if ((mode & 0o777) !== MODE) await handle.chmod(MODE)
    return appendFile(handle, size, mtimeMs)
  } catch (error) {
    await handle.close()
    throw error
  }
}

function appendFile(handle: FileHandle, size: number, modifiedAt: number): AppendFile {
  return {
    size,
    modifiedAt,
    async append(bytes) {
      await handle.appendFile(bytes)
      if ((await handle.stat()).nlink === 0)
        throw new PortcullisError('audit_file_deleted', 'The audit file was deleted while it was open.')
    },
    truncate: (to) => handle.truncate(to),
    async read(from, length) {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, from)
      return buffer.subarray(0, bytesRead)
    },
    close: () => handle.close(),
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (isCode(error, 'ENOENT')) return 0
    throw error
  }
}

/** Those of this process; a lock with its name that is not among them is from before a restart. */
const held = new Set<string>()
/** Containers may share a directory and still number their processes alike. */
const OWNER = `${hostname()} ${process.pid}`

async function lock(path: string): Promise<(() => Promise<void>) | undefined> {
  const token = `${OWNER} ${randomBytes(12).toString('hex')}`
  if (!(await createLock(path, token)) && !((await breakLock(path)) && (await createLock(path, token))))
    return undefined
  held.add(token)
  return async () => {
    held.delete(token)
    if ((await systemFiles.readSmall(path)) === token) await rm(path, { force: true })
  }
}

async function createLock(path: string, token: string): Promise<boolean> {
  // Linked into place whole, so that nobody reads a lock that is half written.
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    await writeFile(temporary, token, { mode: MODE, flag: 'wx' })
    await link(temporary, path)
    return true
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    if (NO_LINKS.some((code) => isCode(error, code))) return createPlainLock(path, token)
    throw error
  } finally {
    await rm(temporary, { force: true })
  }
}

/** What file systems without hard links say. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']

/** One that is read half written counts as another host's: it is waited for. */
async function createPlainLock(path: string, token: string): Promise<boolean> {
  let file: FileHandle
  try {
    file = await open(path, 'wx', MODE)
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  }
  try {
    await file.writeFile(token)
    return true
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
}

/**
 * Takes a dead holder's lock away. Only who holds a second lock may do so: else one could take away the new lock of
 * another who was quicker.
 */
async function breakLock(path: string): Promise<boolean> {
  if (!(await isDead(path))) return false
  const breaker = `${path}.breaking`
  const token = `${OWNER} ${randomBytes(12).toString('hex')}`
  if (!(await createLock(breaker, token))) {
    if ((await ageOf(breaker)) > STALE_LOCK_MS) await rm(breaker, { force: true })
    return false
  }
  try {
    if (!(await isDead(path))) return false
    await rm(path, { force: true })
    return true
  } finally {
    await rm(breaker, { force: true })
  }
}

async function isDead(path: string): Promise<boolean> {
  const token = await systemFiles.readSmall(path)
  if (token === undefined) return true
  const [host, pid] = token.split(' ')
  if (`${host} ${pid}` === OWNER) return !held.has(token)
  if ((await ageOf(path)) > STALE_LOCK_MS) return true
  return host === hostname() && !isAlive(Number(pid))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !isCode(error, 'ESRCH')
  }
}

async function ageOf(path: string): Promise<number> {
  return Date.now() - (await modifiedAt(path))
}

async function modifiedAt(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs
  } catch (error) {
    if (isCode(error, 'ENOENT')) return 0
    throw error
  }
}

function isCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === code
}

/**
 * Not by writing to `process.stdout`: on a pipe that stops the whole process until the reader has read. But asking for
 * it makes Node set the pipe to non-blocking; else a write would hold a thread of the pool, and the process could not
 * even exit.
 */
async function writeStdout(bytes: Uint8Array): Promise<void> {
  void process.stdout.fd
  let rest = bytes
  while (rest.length > 0) {
    const written = await writeSome(STDOUT, rest)
    if (written === undefined) await sleep(AGAIN_MS, undefined, { ref: false })
    else rest = rest.subarray(written)
  }
}

/** Undefined when nothing fits just now. */
function writeSome(descriptor: number, bytes: Uint8Array): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    write(descriptor, bytes, (error, written) => {
      if (error === null) resolve(written)
      else if (isCode(error, 'EAGAIN')) resolve(undefined)
      else reject(error)
    })
  })
}

/** @throws {PortcullisError} `collector_unreachable`; its message holds neither the URL nor what was answered. */
async function post(request: Parameters<Outputs['post']>[0]): Promise<PostReply> {
  let reply: Response
  try {
    reply = await fetch(request.url, {
      method: 'POST',
      headers: request.headers,
      body: Buffer.from(request.body),
      redirect: 'manual',
      signal: AbortSignal.timeout(request.timeoutMs),
    })
  } catch (error) {
    const why = error instanceof Error && error.name === 'TimeoutError' ? 'did not answer in time' : 'cannot be reached'
    throw new PortcullisError('collector_unreachable', `The collector ${why}.`)
  }
  const json = await jsonOf(reply)
  const seconds = Number(reply.headers.get('retry-after') ?? Number.NaN)
  return {
    status: reply.status,
    ...(seconds >= 0 ? { retryAfterMs: seconds * 1000 } : {}),
    ...(json === undefined ? {} : { json }),
  }
}

/** More than any collector has to say. */
const MAX_JSON_BYTES = 65_536

/** Undefined also when the rest of the reply does not come in time. */
async function jsonOf({ headers, body }: Response): Promise<string | undefined> {
  const pieces: Uint8Array[] = []
  let size = 0
  try {
    if (!/^application\/json\b/i.test(headers.get('content-type') ?? '')) {
      await body?.cancel()
      return undefined
    }
    for await (const piece of body ?? []) {
      size += piece.length
      if (size > MAX_JSON_BYTES) return undefined
      pieces.push(piece)
    }
  } catch {
    // The status has come, and counts: posting again would only write everything twice.
    return undefined
  }
  return Buffer.concat(pieces).toString()
}

const reopeners = new Set<() => void>()

/** One listener of the process for all files: Node warns of more than ten. */
function reopenAll(): void {
  for (const listener of reopeners) listener()
}

function onReopen(listener: () => void): () => void {
  if (reopeners.size === 0) process.on('SIGHUP', reopenAll)
  reopeners.add(listener)
  return () => {
    reopeners.delete(listener)
    if (reopeners.size === 0) process.off('SIGHUP', reopenAll)
  }
}

export const systemOutputs: Outputs = { files: systemFiles, writeStdout, post, onReopen }
