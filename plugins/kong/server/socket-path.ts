/**
 * Who may listen on a socket path. Kong starts a new plugin server on `kong reload` while the old one still serves the
 * old worker's requests, so a successor of the same Kong takes the path over without a gap; any other second server is
 * refused.
 */

import { chmodSync, chownSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, type Server } from 'node:net'
import { dirname } from 'node:path'
import { PortcullisError } from '../../../policies/errors.ts'
import { lookUpProcess, sameNginx } from './process-tree.ts'

/** Kong itself reaches the socket as its owner or by its group; nobody else does. */
const SOCKET_MODE = 0o660

/** Longest path that fits `sockaddr_un` on Linux (108) and macOS (104), with its terminator. */
const MAX_PATH_BYTES = 103

const CONNECT_MS = 1_000

export interface SocketClaim {
  readonly path: string
  /** False once another server has taken the path over. */
  isOurs(): boolean
  /** Removes the socket, unless it is another server's by now. Call it before the listening ends. */
  release(): void
}

/**
 * Makes `server` listen on `path`, in place of a dead server or of this Kong's own predecessor.
 * @throws {PortcullisError} `socket_in_use`, `socket_path_unusable`.
 */
export async function claimSocket(server: Server, path: string, backlog: number): Promise<SocketClaim> {
  const ownPath = `${path}.${process.pid}`
  if (Buffer.byteLength(ownPath) > MAX_PATH_BYTES)
    throw new PortcullisError('socket_path_unusable', `the socket path is longer than the system allows: ${path}`)
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() === false)
    throw new PortcullisError('socket_path_unusable', `there is something that is not a socket at ${path}`)
  if ((await answers(path)) && !mayReplace(readOwner(path)))
    throw new PortcullisError(
      'socket_in_use',
      `another plugin server listens on ${path}; give only one a start command`,
    )

  rmSync(ownPath, { force: true })
  await listen(server, ownPath, backlog)
  if (process.getuid?.() === 0) {
    // Started as root but not by Kong: whoever owns the directory is who is meant to use the socket.
    const { uid, gid } = statSync(dirname(path))
    chownSync(ownPath, uid, gid)
  }
  chmodSync(ownPath, SOCKET_MODE)
  const own = statSync(ownPath)
  writeFileSync(ownerPath(path), JSON.stringify({ pid: process.pid, startedBy: process.ppid }), { mode: 0o644 })
  renameSync(ownPath, path)

  let lost = false
  function isOurs(): boolean {
    const found = statSync(path, { throwIfNoEntry: false })
    // For good: after we stop listening our inode number may be the successor's.
    lost ||= found?.ino !== own.ino || found.mtimeMs !== own.mtimeMs
    return !lost
  }
  return {
    path,
    isOurs,
    release() {
      if (!isOurs()) return
      rmSync(path, { force: true })
      rmSync(ownerPath(path), { force: true })
    },
  }
}

interface Owner {
  readonly pid: number
  /** The nginx worker, or whatever process started it. */
  readonly startedBy: number
}

function ownerPath(path: string): string {
  return `${path}.pid`
}

function readOwner(path: string): Owner | undefined {
  try {
    const owner: unknown = JSON.parse(readFileSync(ownerPath(path), 'utf8'))
    if (typeof owner !== 'object' || owner === null) return undefined
    const { pid, startedBy } = owner as Partial<Owner>
    return typeof pid === 'number' && typeof startedBy === 'number' ? { pid, startedBy } : undefined
  } catch {
    // None there, or not one of ours: then nothing is known about whoever listens.
    return undefined
  }
}

/** A predecessor was started by another worker of the same nginx master, or by one that is gone. */
function mayReplace(owner: Owner | undefined): boolean {
  if (owner === undefined || owner.startedBy === process.ppid) return false
  const server = lookUpProcess(owner.pid)
  if (server === undefined) return false
  return server.parent !== owner.startedBy || sameNginx(process.ppid, owner.startedBy)
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const finish = (alive: boolean) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(alive)
    }
    // A full backlog belongs to a server that is alive.
    const timer = setTimeout(finish, CONNECT_MS, true)
    socket.once('connect', () => finish(true))
    socket.once('error', (error: NodeJS.ErrnoException) => finish(error.code === 'EAGAIN'))
  })
}

function listen(server: Server, path: string, backlog: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: Error) =>
      reject(
        new PortcullisError('socket_path_unusable', `cannot listen on ${path}: ${error.message}`, { cause: error }),
      )
    server.once('error', refuse)
    // Nobody but us between bind and chmod.
    const umask = process.umask(0o177)
    try {
      server.listen({ path, backlog }, () => {
        server.off('error', refuse)
        resolve()
      })
    } finally {
      process.umask(umask)
    }
  })
}
