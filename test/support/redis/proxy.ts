/** A TCP proxy before a Redis that loses what a test tells it to lose. */

import { connect, createServer, type Socket } from 'node:net'
import { freePort } from './server.ts'

export interface LossyProxy {
  readonly port: number
  /** From now on requests arrive and their replies do not: at the next one the connection breaks. */
  loseNextReply(): void
  /** Replies arrive so many milliseconds late. */
  delay(ms: number): void
  close(): Promise<void>
}

export async function startProxy(target: { readonly host: string; readonly port: number }): Promise<LossyProxy> {
  const port = await freePort()
  const sockets = new Set<Socket>()
  let losing = false
  let delayMs = 0

  const server = createServer((client) => {
    const upstream = connect(target.port, target.host)
    const end = () => {
      client.destroy()
      upstream.destroy()
      sockets.delete(client)
      sockets.delete(upstream)
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', end)
      socket.on('close', end)
    }
    client.on('data', (bytes) => upstream.write(bytes))
    upstream.on('data', (bytes) => {
      if (losing) {
        losing = false
        end()
        return
      }
      if (delayMs === 0) client.write(bytes)
      else setTimeout(() => client.writable && client.write(bytes), delayMs)
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    port,
    loseNextReply() {
      losing = true
    },
    delay(ms) {
      delayMs = ms
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
