/** A collector of audit records that remembers all it was sent. */

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Collector {
  readonly url: string
  /** Everything that was posted so far. */
  received(): string
  close(): void
}

export async function startCollector(): Promise<Collector> {
  const pieces: string[] = []
  const server = createServer((request, response) => {
    request.on('data', (piece) => pieces.push(String(piece)))
    request.on('end', () => response.writeHead(200).end())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => pieces.join(''),
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
