/** The recorded traffic of a real Kong, and a server that answers as the recording's did. */

import { readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { decode, encode } from '@msgpack/msgpack'

export interface RecordedFrame {
  readonly seq: number
  readonly conn: number
  readonly dir: 'kong>server' | 'server>kong'
  readonly msg: readonly unknown[]
}

export function readRecording(name: string): readonly RecordedFrame[] {
  const path = new URL(`../../fixtures/kong-wire/${name}.jsonl`, import.meta.url)
  return readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const frame = JSON.parse(line) as RecordedFrame
      return { ...frame, msg: withBytes(frame.msg) as readonly unknown[] }
    })
}

function withBytes(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(withBytes)
  if ('$bin' in value) return Buffer.from(String(value.$bin), 'base64')
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, withBytes(member)]))
}

export interface Replay {
  /** What Kong's side sent, in order, with connections numbered as they came. */
  readonly received: ReadonlyArray<{ readonly conn: number; readonly msg: readonly unknown[] }>
  close(): void
}

/** Listens on `path` and gives the recorded answers in order. */
export function replayServer(path: string, frames: readonly RecordedFrame[]): Promise<Replay> {
  const answers = frames.filter(({ dir }) => dir === 'server>kong').map(({ msg }) => msg)
  const received: Array<{ conn: number; msg: readonly unknown[] }> = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    const conn = sockets.size
    sockets.add(socket)
    let bytes = Buffer.alloc(0)
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      let msg: readonly unknown[]
      try {
        msg = decode(bytes) as readonly unknown[]
      } catch (error) {
        if (error instanceof RangeError) return
        throw error
      }
      bytes = Buffer.alloc(0)
      received.push({ conn, msg })
      const answer = answers.shift()
      if (answer === undefined) socket.destroy()
      else socket.write(encode(answer))
    })
  })
  return new Promise((resolve) => {
    server.listen(path, () =>
      resolve({
        received,
        close() {
          for (const socket of sockets) socket.destroy()
          server.close()
        },
      }),
    )
  })
}
