/**
 * What this process let through and has not heard of again, so that the end of a request can be told by its id alone.
 * A bounded memory, never the only place: `llm-edge` has it all and sends it to a process that does not know the id.
 */

import { forgetOldest } from '../../policies/forget-oldest.ts'
import type { ReadEndedEntry } from './ending.ts'
import type { Facts } from './shared-context.ts'

/** What one plugin noted, and by which config. */
export interface KeptEntry extends ReadEndedEntry {
  readonly pluginId: string
}

/** Of the facts, what an observer is told. Never the body. */
export type KeptFacts = Pick<
  Facts,
  'request_id' | 'method' | 'path' | 'address' | 'consumer' | 'credential' | 'route' | 'service'
>

export interface KeptRequest {
  readonly facts: KeptFacts
  readonly entries: readonly KeptEntry[]
}

export interface UnderWay {
  /**
   * Adds an entry to those of its request. Kong's ids are random and of 128 bits; should a plugin decide twice under one,
   * nothing is known of either request.
   * @returns false when Kong has refused the request by now: then nothing is kept
   */
  keep(facts: Facts, entry: KeptEntry): boolean
  /**
   * Kong refused the request because it heard nothing of this plugin, nor will it hear of it. Returns what the plugin let
   * through all the same; what it has still to decide on is not kept.
   */
  disown(requestId: string, plugin: string): KeptEntry | undefined
  find(requestId: string): KeptRequest | undefined
  forget(requestId: string): void
}

/** A few kilobytes each. Beyond that the oldest go. */
const MOST = 10_000

export function createUnderWay(most = MOST): UnderWay {
  /** Oldest first. */
  const requests = new Map<string, { readonly facts: KeptFacts; entries: KeptEntry[] }>()
  const disowned = new Map<string, true>()
  const keyOf = (requestId: string, plugin: string) => `${requestId} ${plugin}`

  return {
    keep(facts, entry) {
      const id = facts.request_id
      if (disowned.size > 0 && disowned.has(keyOf(id, entry.plugin))) return false
      const known = requests.get(id)
      if (known !== undefined) {
        const twice = known.entries.length === 0 || known.entries.some(({ plugin }) => plugin === entry.plugin)
        known.entries = twice ? [] : [...known.entries, entry]
        return true
      }
      requests.set(id, { facts: withoutBody(facts), entries: [entry] })
      forgetOldest(requests, most)
      return true
    },
    disown(requestId, plugin) {
      disowned.set(keyOf(requestId, plugin), true)
      forgetOldest(disowned, most)
      const known = requests.get(requestId)
      const entry = known?.entries.find((one) => one.plugin === plugin)
      if (known === undefined || entry === undefined) return undefined
      known.entries = known.entries.filter((one) => one !== entry)
      if (known.entries.length === 0) requests.delete(requestId)
      return entry
    },
    find(requestId) {
      const found = requests.get(requestId)
      return found?.entries.length === 0 ? undefined : found
    },
    forget: (requestId) => void requests.delete(requestId),
  }
}

function withoutBody({ request_id, method, path, address, consumer, credential, route, service }: Facts): KeptFacts {
  return { request_id, method, path, address, consumer, credential, route, service } as KeptFacts
}
