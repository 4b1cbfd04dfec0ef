/** Where a caller's grants come from. The first source that knows the caller decides; the others are not asked. */

import type { Caller, Claims } from '../policy.ts'
import { claimAt } from '../token-limit/claims.ts'
import { type Grant, parseGrant } from './grants.ts'

export const SOURCES = ['jwt', 'credential', 'consumer', 'static', 'groups'] as const
export type Source = (typeof SOURCES)[number]

export interface Grantor {
  /** Undefined when no source knows the caller. */
  grantsOf(caller: Caller, claims: Claims | undefined): Granted | undefined
}

export interface Granted {
  readonly source: Source
  readonly grants: readonly Grant[]
}

export interface GrantorOptions {
  readonly sources: readonly Source[]
  readonly aliases: Readonly<Record<string, readonly string[]>>
  /** Grants by id, user name or custom id of a consumer, or by id of a credential. */
  readonly consumers: Readonly<Record<string, readonly string[]>>
  readonly groups: Readonly<Record<string, readonly string[]>>
  /** Paths into verified claims. */
  readonly claimPaths: readonly string[]
}

export function createGrantor(options: GrantorOptions): Grantor {
  const aliases = new Map(Object.entries(options.aliases).map(([name, texts]) => [name, parseAll(texts)]))
  const consumers = expanded(options.consumers)
  const groups = expanded(options.groups)
  // A verified token's claims are one object for as long as it is cached.
  const byClaims = new WeakMap<Claims, readonly Grant[]>()

  function read(texts: readonly string[]): readonly Grant[] {
    return texts.flatMap((text) => {
      const alias = aliases.get(text)
      if (alias !== undefined) return alias
      const grant = parseGrant(text)
      return grant === undefined ? [] : [grant]
    })
  }

  function expanded(lists: Readonly<Record<string, readonly string[]>>): ReadonlyMap<string, readonly Grant[]> {
    return new Map(Object.entries(lists).map(([name, texts]) => [name, read(texts)]))
  }

  function claimed(claims: Claims): readonly Grant[] {
    let grants = byClaims.get(claims)
    if (grants === undefined) {
      grants = read(options.claimPaths.flatMap((path) => textsOf(claimAt(claims, path))))
      byClaims.set(claims, grants)
    }
    return grants
  }

  function from(source: Source, caller: Caller, claims: Claims | undefined): readonly Grant[] | undefined {
    // A token that grants nothing must not fall back to whatever the consumer may do.
    if (source === 'jwt') return claims === undefined ? undefined : claimed(claims)
    const { consumer, credential } = caller
    // A consumer without a credential is the gateway's anonymous one, and no identity.
    if (credential === undefined) return undefined
    switch (source) {
      case 'credential':
        return known(read([...(credential.scopes ?? []), ...credential.tags]))
      case 'consumer':
        return known(read(consumer?.tags ?? []))
      case 'static': {
        const names = [credential.id, consumer?.id, consumer?.username, consumer?.customId]
        return names.map((name) => (name === undefined ? undefined : consumers.get(name))).find((found) => found)
      }
      case 'groups':
        return known((consumer?.groups ?? []).flatMap((group) => groups.get(group) ?? []))
    }
  }

  return {
    grantsOf(caller, claims) {
      for (const source of options.sources) {
        const grants = from(source, caller, claims)
        if (grants !== undefined) return { source, grants }
      }
      return undefined
    },
  }
}

/** Tags mean many things: a list without a single grant says nothing about scopes. */
function known(grants: readonly Grant[]): readonly Grant[] | undefined {
  return grants.length === 0 ? undefined : grants
}

function parseAll(texts: readonly string[]): readonly Grant[] {
  return texts.map(parseGrant).filter((grant) => grant !== undefined)
}

/** A claim as scopes: text parted by spaces, or a list of texts. */
function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return value.split(' ')
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}
