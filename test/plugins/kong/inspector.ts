/** The inspector of a Node.js process: its heap, after a garbage collection. */

import type { ServerProcess } from './process-harness.ts'
import { until } from './server/harness.ts'

export interface Inspector {
  /** Of live objects and of the buffers that they own. */
  bytesInUse(): Promise<number>
  close(): void
}

interface HeapUsage {
  readonly usedSize: number
  readonly backingStorageSize: number
}

/** @param server started with `--inspect=127.0.0.1:0` */
export async function openInspector(server: ServerProcess): Promise<Inspector> {
  const address = () => /Debugger listening on (ws:\S+)/.exec(server.stderr())?.[1]
  await until(() => address() !== undefined)
  const socket = new WebSocket(address() ?? '')
  const waiting = new Map<number, (result: unknown) => void>()
  let last = 0
  socket.addEventListener('message', ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { readonly id: number; readonly result: unknown }
    waiting.get(id)?.(result)
    waiting.delete(id)
  })
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve())
    socket.addEventListener('error', () => reject(new Error('no inspector there')))
  })

  function call(method: string): Promise<unknown> {
    last += 1
    const id = last
    socket.send(JSON.stringify({ id, method }))
    return new Promise((resolve) => waiting.set(id, resolve))
  }

  return {
    async bytesInUse() {
      await call('HeapProfiler.collectGarbage')
      const { usedSize, backingStorageSize } = (await call('Runtime.getHeapUsage')) as HeapUsage
      return usedSize + backingStorageSize
    },
    close: () => socket.close(),
  }
}
