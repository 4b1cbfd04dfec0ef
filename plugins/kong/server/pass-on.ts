/** Passes content of requests that are under way on to the successor of this process, for as long as this one lives. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { HeldContent } from '../../../policies/audit/held-content.ts'
import type { Logger } from '../../../policies/policy.ts'
import { ADOPT, CHUNK_BYTES, MAX_TEXT_BYTES, readAdoptAnswer, writeAdoption } from './adopt.ts'
import { RpcError } from './instances.ts'
import { type Peer, reachPeer } from './peer.ts'

export interface PassOnOptions {
  /** Where the successor listens, or will. */
  readonly path: string
  readonly held: HeldContent
  readonly logger: Logger
  /** Milliseconds on a clock that never steps back. */
  readonly now: () => number
  /** Whether somebody may still begin to listen there. */
  readonly mayCome: () => boolean
}

export interface PassOn {
  /** Whether nothing is left to pass on now, or nobody to take it. */
  readonly idle: boolean
  /** Goes on until nothing is left, nobody can come, or `ms` have passed; then says how much is lost. */
  end(ms: number): Promise<void>
}

const POLL_MS = 20
/** After a message without an answer. */
const RETRY_MS = 200
/** The worker that told this process to end may not have ended itself. */
const LEAVING_MS = 500
const PATIENCE_MS = 2_000
const FRAME_MARGIN = 1_024

export function passOn({ path, held, logger, now, mayCome }: PassOnOptions): PassOn {
  let peer: Peer | undefined
  let reached = false
  /** The successor is of a version that takes none, or of one that takes another form. */
  let declined = false
  let ending = false
  let asking = false
  let lost = 0

  const isIdle = (): boolean => declined || (!asking && held.size === 0 && held.wanted().length === 0)

  async function reach(): Promise<Peer | undefined> {
    if (peer === undefined || peer.gone)
      peer = await reachPeer(path, { patienceMs: PATIENCE_MS, maxFrameBytes: MAX_TEXT_BYTES + FRAME_MARGIN })
    reached ||= peer !== undefined
    return peer
  }

  function decline(): void {
    declined = true
    // Nobody will send what somebody may come to wait for.
    held.expect(0)
  }

  /** One message and its answer. Returns when to look again, in milliseconds. */
  async function pass(): Promise<number> {
    const successor = isIdle() ? undefined : await reach()
    if (successor === undefined) return POLL_MS
    const [contents, wanted] = [held.release(CHUNK_BYTES), held.wanted()]
    if (contents.length === 0 && wanted.length === 0) return POLL_MS
    asking = true
    const answer = await successor.ask(ADOPT, writeAdoption({ contents, wanted }))
    asking = false
    const adopted = answer !== undefined && 'result' in answer ? read(answer.result) : undefined
    if (adopted === undefined) {
      successor.close()
      if (answer !== undefined) decline()
      // Here is where it is looked for now.
      for (const content of contents) if (!held.adopt(content)) lost += 1
      return RETRY_MS
    }
    lost += adopted.refused
    for (const content of adopted.found) if (!held.adopt(content)) lost += 1
    return contents.length > 0 ? 0 : POLL_MS
  }

  async function passAll(): Promise<void> {
    while (!ending && !declined) await sleep(await pass())
  }

  held.expect(Number.POSITIVE_INFINITY)
  const passing = passAll()
  return {
    get idle() {
      return isIdle()
    },
    async end(ms) {
      const since = now()
      const isWorthIt = () => peer?.gone === false || mayCome() || now() - since < LEAVING_MS
      while (!isIdle() && now() - since < ms && isWorthIt()) await sleep(POLL_MS)
      ending = true
      await passing
      peer?.close()
      const left = lost + held.size
      if (left > 0 && (reached || mayCome()))
        logger.warn('content of requests under way is lost: no other server took it', { requests: left })
    },
  }
}

function read(result: unknown): ReturnType<typeof readAdoptAnswer> | undefined {
  try {
    return readAdoptAnswer(result)
  } catch (error) {
    if (error instanceof RpcError) return undefined
    throw error
  }
}
