/** What audit sinks touch of the outside world. Adapters hand it in as `Deps.outputs`; tests hand in fakes. */

/** A file opened for appending, by nobody else. */
export interface AppendFile {
  /** Bytes in the file when it was opened. */
  readonly size: number
  /** Epoch milliseconds of the last change before it was opened. */
  readonly modifiedAt: number
  /** Appends all of it or throws; then part of it may be in the file. Throws when the file was deleted meanwhile. */
  append(bytes: Uint8Array): Promise<void>
  /** Cuts the file to this many bytes. */
  truncate(size: number): Promise<void>
  /** Up to `length` bytes from `from` on; fewer at the end of the file. */
  read(from: number, length: number): Promise<Uint8Array>
  close(): Promise<void>
}

export interface FileEntry {
  readonly name: string
  readonly size: number
}

/** Every method throws what the file system throws. */
export interface Files {
  /** Creates it with mode 0600 when it is not there. */
  open(path: string): Promise<AppendFile>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  /** Plain files of a directory. */
  list(directory: string): Promise<readonly FileEntry[]>
  /** The whole of a small file; undefined when it is not there. */
  readSmall(path: string): Promise<string | undefined>
  /** Replaces a small file in one step, mode 0600. */
  writeSmall(path: string, text: string): Promise<void>
  /**
   * Takes the lock at `path` for this process; undefined while another live one holds it. A holder that died loses it.
   * @returns its release.
   */
  lock(path: string): Promise<(() => Promise<void>) | undefined>
}

export interface PostRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  readonly timeoutMs: number
}

export interface PostReply {
  readonly status: number
  /** From `retry-after`, in milliseconds. */
  readonly retryAfterMs?: number
  /** Text of a reply in JSON, when it has at most 64 KiB. */
  readonly json?: string
}

export interface Outputs {
  readonly files: Files
  /** Appends to this process's standard output without blocking it; resolves once it is written. */
  writeStdout(bytes: Uint8Array): Promise<void>
  /** Posts. @throws when no reply comes in time. Follows no redirect. */
  post(request: PostRequest): Promise<PostReply>
  /** Calls `listener` when files should be closed and opened again (SIGHUP). Returns its removal. */
  onReopen(listener: () => void): () => void
}
