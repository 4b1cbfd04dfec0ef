/** A block of ports on the loopback that no other test process on this machine uses. */

import { once } from 'node:events'
import { createServer } from 'node:net'

const FIRST = 22_000
const BLOCKS = 100
const SIZE = 10

/** Held as long as this process lives: whoever listens on a block's last port owns the block. */
async function claim(): Promise<number> {
  for (let block = 0; block < BLOCKS; block++) {
    const base = FIRST + block * SIZE
    const lock = createServer()
    lock.unref()
    lock.listen(base + SIZE - 1, '127.0.0.1')
    const owned = await once(lock, 'listening').then(
      () => true,
      () => false,
    )
    if (owned) return base
  }
  throw new Error(`no free block of ports between ${FIRST} and ${FIRST + BLOCKS * SIZE}`)
}

const base = await claim()

export const PROXY_PORT = base
export const ADMIN_PORT = base + 1
export const STATUS_PORT = base + 2
/** Of the plugin server. */
export const METRICS_PORT = base + 3
export const UPSTREAM_PORT = base + 4
export const REDIS_PORT = base + 5
