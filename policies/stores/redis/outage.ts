/** Settling through Redis, and what is done instead of it while one of its nodes is down. */

import { PortcullisError } from '../../errors.ts'
import type { Clock, Logger, Random } from '../../policy.ts'
import { publish, type StoreStanding } from '../../telemetry.ts'
import { type Admitted, createLocalShare, isLifeOf, type Lives, type LocalShare } from '../fallback.ts'
import type { Claim, SettleEntry } from '../ports.ts'
import type { RedisConnection } from './connection.ts'
import type { Admission, Clip, RedisCounters } from './counters.ts'
import { RedisFailure } from './failure.ts'
import { entriesToShrink, groupEntries, shrunk } from './groups.ts'
import { type GuardedNode, guardNode } from './guarded-node.ts'
import { besideHash, placeOf } from './keys.ts'
import { createPending, type Settling } from './pending.ts'
import type { UsageReports } from './reports.ts'

export type OnStoreError = 'local' | 'deny' | 'allow'

/** Life of a reservation that nobody counted. */
const UNCOUNTED = 0
/** Counters charged by one script when an outage is over. */
const HANDED_OVER_AT_ONCE = 50
/** Counters whose reservations of an outage can still be refunded afterwards. */
const MOST_HANDED_OVER = 50_000
const MOST_NODES = 1_000
const FIRST_RETRY_MS = 200
const LAST_RETRY_MS = 5_000

export interface Outage {
  nodeOf(claim: Pick<Claim, 'key' | 'caller'>): GuardedNode
  /** Takes Redis for down before any request has failed. */
  trip(reason: string): void
  /** @throws {PortcullisError} `store_unavailable` when requests must not pass without Redis */
  admit(node: GuardedNode, id: string, claims: readonly Claim[], clip: Clip): Admission
  /** False when Redis knows this id to be settled. @throws {PortcullisError} `store_fault` */
  settle(id: string, entries: readonly SettleEntry[]): Promise<boolean>
  /** Of every node that was used. */
  readonly standings: readonly StoreStanding[]
  close(): Promise<void>
}

export interface OutageDeps {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly connection: RedisConnection
  readonly counters: RedisCounters
  readonly prefix: string
  readonly reports: UsageReports
  readonly onStoreError: OnStoreError
  /** Gateway nodes that share the limits; 0 when nobody knows. */
  nodes(): number
}

export function createOutage(deps: OutageDeps): Outage {
  const { clock, connection, counters, prefix, onStoreError } = deps
  const nodes = new Map<string, GuardedNode>()
  const pending = createPending({ send, dropped })
  let handedOver = new Map<string, { readonly lives: Lives; readonly at: number; readonly epoch: number }>()
  let retryMs = FIRST_RETRY_MS
  let cancelRetry: (() => void) | undefined
  let closed = false

  function nodeAt(hash: string): GuardedNode {
    const name = connection.nodeOf(hash)
    let node = nodes.get(name)
    if (node === undefined) {
      if (nodes.size >= MOST_NODES) forgetQuietNodes()
      node = guard(name)
      nodes.set(name, node)
    }
    return node
  }

  /** In a cluster whose nodes change their addresses. */
  function forgetQuietNodes(): void {
    for (const [name, node] of nodes) if (!node.down && node.share === undefined) nodes.delete(name)
  }

  function guard(name: string): GuardedNode {
    const node = guardNode(name, {
      ...deps,
      probe: (hash) => connection.probe(besideHash(prefix, hash, 'p')),
      reconnect: () => connection.reconnect(name),
      createShare,
      async handOver(admitted, lives) {
        for (const settling of charges(admitted, lives)) pending.add(settling)
        return pending.flush((hash) => nodeAt(hash) !== node && nodeAt(hash).down)
      },
    })
    return node
  }

  function createShare(): LocalShare {
    // From here on N is frozen, until Redis is back and the share ends.
    return createLocalShare({ ...deps, nodes: deps.nodes(), usageOf: deps.reports.usageOf })
  }

  function charges(admitted: readonly Admitted[], lives: Lives | undefined): Settling[] {
    const entries = admitted.map(({ key, caller, counter, amount }) => ({
      key,
      ...(caller === undefined ? {} : { caller }),
      counter,
      at: 0,
      epoch: 0,
      reserved: 0,
      actual: amount,
    }))
    return batches(entries).map(([hash, batch]) => ({
      id: deps.random.id(),
      hash,
      entries: batch,
      ...(lives === undefined ? {} : { lives }),
    }))
  }

  /** What one script may settle together. */
  function batches(entries: readonly SettleEntry[]): [string, readonly SettleEntry[]][] {
    if (connection.clustered) return [...groupEntries(prefix, entries)]
    const made: [string, readonly SettleEntry[]][] = []
    for (let from = 0; from < entries.length; from += HANDED_OVER_AT_ONCE) {
      const batch = entries.slice(from, from + HANDED_OVER_AT_ONCE)
      const [first] = batch
      if (first !== undefined) made.push([placeOf(prefix, first).hash, batch])
    }
    return made
  }

  async function send({ id, hash, entries, lives }: Settling): Promise<void> {
    try {
      const settled = await counters.settleAlone(id, entries)
      if (lives === undefined || settled === undefined) return
      for (const [index, { key }] of entries.entries()) {
        const counter = settled[index]
        if (counter !== undefined) handedOver.set(key, { lives, at: counter.at, epoch: counter.epoch })
      }
      if (handedOver.size > MOST_HANDED_OVER) handedOver = new Map([...handedOver].slice(-MOST_HANDED_OVER / 2))
    } catch (error) {
      if (error instanceof RedisFailure) nodeAt(hash).failed(error, hash)
      throw error
    }
  }

  function dropped(code: string): void {
    publish('fault', () => ({ where: 'store.redis.settle', code }))
    deps.logger.error('settlement dropped', { store: 'redis', code })
  }

  function keep(settling: Settling, failure?: RedisFailure): void {
    pending.add(settling, failure)
    if (pending.size > 0) scheduleRetry()
  }

  /** Of settlements that failed while their node was not down; those of a node that is go with its recovery. */
  function scheduleRetry(): void {
    if (closed || cancelRetry !== undefined) return
    cancelRetry = clock.after(retryMs, () => {
      cancelRetry = undefined
      void pending
        .flush((hash) => nodeAt(hash).down)
        .then((empty) => {
          retryMs = empty ? FIRST_RETRY_MS : Math.min(LAST_RETRY_MS, retryMs * 2)
          if (!empty) scheduleRetry()
        })
    })
  }

  function settleInRedis(id: string, entries: readonly SettleEntry[]): Promise<boolean> {
    return connection.clustered ? settleInParts(id, entries) : settleAt(hashOf(entries), id, entries)
  }

  async function settleInParts(id: string, entries: readonly SettleEntry[]): Promise<boolean> {
    let counted = true
    for (const [hash, group] of groupEntries(prefix, entries)) if (!(await settleAt(hash, id, group))) counted = false
    return counted
  }

  function settleAt(hash: string, id: string, entries: readonly SettleEntry[]): Promise<boolean> {
    const node = nodeAt(hash)
    const settling = { id, hash, entries }
    if (node.down) {
      keep(settling)
      return Promise.resolve(true)
    }
    return counters.settle(id, entries, (failure) => {
      if (!(failure instanceof RedisFailure)) throw failure
      node.failed(failure, hash)
      keep(settling, failure)
      return true
    })
  }

  function hashOf([first]: readonly SettleEntry[]): string {
    return first === undefined ? '' : placeOf(prefix, first).hash
  }

  /** A reservation of an outage that is over is settled where its charge was booked. */
  function asHandedOver(entry: SettleEntry): SettleEntry {
    const taken = handedOver.get(entry.key)
    if (taken === undefined || !isLifeOf(taken.lives, entry.epoch)) return entry
    return { ...entry, at: taken.at, epoch: taken.epoch }
  }

  function uncounted(claims: readonly Claim[], clip: Clip): Admission {
    const at = Math.floor(clock.now())
    return {
      admitted: true,
      clip,
      claims: claims.map(({ key, counter, input, want }) => {
        const remaining = counter.burst ?? counter.limit
        return { key, at, epoch: UNCOUNTED, reserved: input + Math.min(want, clip.to), remaining, resetMs: 0 }
      }),
    }
  }

  function locally(node: GuardedNode, id: string, claims: readonly Claim[], clip: Clip): Admission {
    if (node.share === undefined && deps.nodes() === 0)
      throw unavailable('and nobody knows among how many nodes to divide the limits')
    const result = node.beginShare().reserve(id, claims)
    const clippedTo = result.clippedTo ?? Number.POSITIVE_INFINITY
    const floors = claims.map((claim) => (!claim.shadow && claim.clip && claim.want > clippedTo ? claim.floor : 0))
    const joint = { to: Math.min(clip.to, clippedTo), floor: Math.max(clip.floor, ...floors) }
    if (!result.admitted || joint.to >= joint.floor) return { ...result, clip: joint }
    // What other counters left is less than this one's claims can do with.
    const entries = entriesToShrink(claims, { ...result, clip: joint }, undefined)
    node.share?.settle(`${id}/back`, entries)
    return { admitted: false, clip: joint, claims: result.claims.map((claimed) => shrunk(claimed, entries)) }
  }

  return {
    nodeOf: (claim) => nodeAt(connection.clustered ? placeOf(prefix, claim).hash : ''),
    trip(reason) {
      const hash = `${prefix}nodes`
      nodeAt(hash).trip(reason, hash)
    },
    admit(node, id, claims, clip) {
      if (onStoreError === 'deny') throw unavailable('and `on_store_error` is `deny`')
      return onStoreError === 'allow' ? uncounted(claims, clip) : locally(node, id, claims, clip)
    },
    async settle(id, entries) {
      if (entries.every(isShared)) return entries.length === 0 ? true : settleInRedis(id, entries)
      const shared: SettleEntry[] = []
      const local = new Map<LocalShare, SettleEntry[]>()
      for (const entry of entries) {
        if (entry.epoch === UNCOUNTED) continue
        const share = entry.epoch < 0 ? nodeAt(placeOf(prefix, entry).hash).share : undefined
        if (share === undefined || !isLifeOf(share.lives, entry.epoch)) shared.push(asHandedOver(entry))
        else local.set(share, [...(local.get(share) ?? []), entry])
      }
      for (const [share, own] of local) share.settle(id, own)
      return shared.length === 0 ? true : settleInRedis(id, shared)
    },
    get standings() {
      const unused = { name: connection.nodeOf(`${prefix}nodes`), down: false }
      const used = nodes.size === 0 ? [unused] : [...nodes.values()]
      const waiting = new Map<string, number>()
      for (const node of pending.hashes().map(connection.nodeOf)) waiting.set(node, (waiting.get(node) ?? 0) + 1)
      return used.map(({ name, down }) => ({
        store: 'redis',
        node: name,
        up: !down && connection.refusal === undefined,
        pending: waiting.get(name) ?? 0,
      }))
    },
    async close() {
      closed = true
      cancelRetry?.()
      for (const node of nodes.values()) {
        if (node.share !== undefined)
          for (const settling of charges(node.share.drain(), undefined)) pending.add(settling)
        node.close()
      }
      const late = new Promise<void>((resolve) => clock.after(LAST_RETRY_MS, resolve))
      await Promise.race([pending.flush((hash) => nodeAt(hash).down), late])
      if (pending.size > 0) dropped('unsettled_at_close')
    },
  }
}

/** Whether Redis itself counted the reservation. */
function isShared({ epoch }: SettleEntry): boolean {
  return epoch > UNCOUNTED
}

function unavailable(why: string): PortcullisError {
  return new PortcullisError('store_unavailable', `The store of limits is down, ${why}.`)
}
