/** What is known of each caller, for so many of them at most: whoever is beyond counts as others do. */

import type { KeyLife, LimitStanding } from '../../policies/telemetry.ts'
import { amount } from './amount.ts'

/** Stands for callers beyond the cap, and for those who have no name. No consumer can be called so. */
export const OTHERS = '(other)'
export const NAMELESS = '(none)'
/** Stands for everybody, where a limit is shared. */
export const ALL = '(all)'

export const KINDS = ['reserved', 'settled', 'refunded'] as const
export type TokenKind = (typeof KINDS)[number]

export interface CallerBook {
  count(caller: string | undefined, kind: TokenKind, tokens: number): void
  /** Only of callers with a name of their own: the limits of several have no one standing. */
  noteLimits(caller: string | undefined, limits: readonly LimitStanding[]): void
  noteKey(caller: string | undefined, key: KeyLife): void
  readonly pages: ReadonlyMap<string, CallerPage>
}

export interface CallerPage {
  readonly tokens: Readonly<Record<TokenKind, number>>
  /** As last seen; what is free again by now counts as free. */
  limits(): readonly Pick<LimitStanding, 'rule' | 'unit' | 'limit' | 'used'>[]
  /** The first of these times among the keys that were used within a day. */
  keys(): KeyLife
}

export interface CallerBookOptions {
  /** Callers that are told apart; 0 tells nobody apart. */
  readonly max: number
  /** Milliseconds on a clock that never steps back. */
  readonly now: () => number
}

/** A quiet caller makes room for another one after this time. */
const IDLE_MS = 3_600_000
const KEY_IN_USE_MS = 86_400_000
/** A caller has few rules and few keys; a config that changes often must not fill the memory. */
const MOST_LIMITS = 32
const MOST_KEYS = 16

export function createCallerBook({ max, now }: CallerBookOptions): CallerBook {
  // The one that was quiet longest comes first.
  const named = new Map<string, OpenPage>()
  const grouped = new Map<string, OpenPage>()

  function pageOf(caller: string | undefined): OpenPage {
    if (caller === undefined) return groupOf(NAMELESS)
    const page = named.get(caller) ?? newPage(caller)
    if (page === undefined) return groupOf(OTHERS)
    named.delete(caller)
    named.set(caller, page)
    page.seenAt = now()
    return page
  }

  function newPage(caller: string): OpenPage | undefined {
    const [quietest] = named
    if (named.size >= max && quietest !== undefined && now() - quietest[1].seenAt > IDLE_MS) named.delete(quietest[0])
    return named.size >= max || isReserved(caller) ? undefined : openPage(now)
  }

  function groupOf(name: string): OpenPage {
    const page = grouped.get(name) ?? openPage(now)
    grouped.set(name, page)
    return page
  }

  return {
    count(caller, kind, tokens) {
      pageOf(caller).tokens[kind] += amount(tokens)
    },
    noteLimits(caller, limits) {
      for (const limit of limits) {
        const page = limit.shared ? groupOf(ALL) : pageOf(caller)
        if (limit.shared || named.has(caller ?? '')) page.noteLimit(limit)
      }
    },
    noteKey: (caller, key) => pageOf(caller).noteKey(key),
    get pages() {
      return new Map([...named, ...grouped])
    },
  }
}

function isReserved(name: string): boolean {
  return [OTHERS, NAMELESS, ALL].includes(name)
}

interface OpenPage extends CallerPage {
  readonly tokens: Record<TokenKind, number>
  seenAt: number
  noteLimit(limit: LimitStanding): void
  noteKey(key: KeyLife): void
}

function openPage(now: () => number): OpenPage {
  const limits = new Map<string, LimitStanding & { readonly at: number }>()
  const keys = new Map<string, KeyLife & { readonly at: number }>()

  return {
    tokens: { reserved: 0, settled: 0, refunded: 0 },
    seenAt: now(),
    noteLimit(limit) {
      remember(limits, `${limit.unit} ${limit.rule}`, { ...limit, at: now() }, MOST_LIMITS)
    },
    noteKey(key) {
      // A key has no name here; two that are due at the same moment are as good as one.
      remember(keys, `${key.dueAt} ${key.endsAt}`, { ...key, at: now() }, MOST_KEYS)
    },
    limits: () =>
      [...limits.values()].map(({ rule, unit, limit, used, resetMs, at }) => ({
        rule,
        unit,
        limit,
        used: now() >= at + resetMs ? 0 : used,
      })),
    keys() {
      const inUse = [...keys.values()].filter(({ at }) => now() - at < KEY_IN_USE_MS)
      const dueAt = first(inUse.map((key) => key.dueAt))
      const endsAt = first(inUse.map((key) => key.endsAt))
      return { ...(dueAt === undefined ? {} : { dueAt }), ...(endsAt === undefined ? {} : { endsAt }) }
    },
  }
}

/** The one that was not seen longest makes room. */
function remember<V>(known: Map<string, V>, key: string, value: V, most: number): void {
  known.delete(key)
  if (known.size >= most) {
    const [oldest] = known.keys()
    if (oldest !== undefined) known.delete(oldest)
  }
  known.set(key, value)
}

function first(times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}
