import { setTimeout as sleep } from 'node:timers/promises'

/** Asks until `ready` says yes. @throws after `ms`, with the last error. */
export async function until(what: string, ready: () => Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = Date.now() + ms
  let last: unknown
  while (Date.now() < deadline) {
    try {
      if (await ready()) return
      last = undefined
    } catch (error) {
      last = error
    }
    await sleep(50)
  }
  throw new Error(`${what}: not within ${ms} ms`, { cause: last })
}
