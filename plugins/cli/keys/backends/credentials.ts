/** Key-auth credentials of Kong, wherever they were read, as keys with versions. */

import { fingerprintOf, parseKey } from '../../../../policies/api-key/index.ts'
import type { KeyVersion, ManagedKey } from '../ports.ts'
import { idTag, readTags, type TagFacts, writeTags } from '../tags.ts'

export interface Credential {
  readonly ref: string
  readonly owner: string
  readonly key?: string
  readonly tags: readonly string[]
  /** Epoch milliseconds; only where it is not the time a config was loaded. */
  readonly createdAt?: number
}

/** Those with one stable id are one key. */
export function groupCredentials(credentials: readonly Credential[]): readonly ManagedKey[] {
  const groups = new Map<string, Credential[]>()
  for (const [index, credential] of credentials.entries()) {
    const id = idOf(credential)
    const name = JSON.stringify(id === undefined ? [index] : [credential.owner, id])
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [credential])
    else group.push(credential)
  }
  return [...groups.values()].map(keyOf)
}

/** By its tag; else by the key itself, which names it when it is an own one. */
export function idOf({ key, tags }: Pick<Credential, 'key' | 'tags'>): string | undefined {
  return readTags(tags).id ?? (key === undefined ? undefined : parseKey(key)?.id)
}

function keyOf(group: readonly Credential[]): ManagedKey {
  const [first] = group
  const id = first === undefined ? undefined : idOf(first)
  const fixed = group.map(fixedBy).find((why) => why !== undefined)
  const rest = group.flatMap(({ tags }) => readTags(tags).rest)
  return {
    ...(id === undefined ? {} : { id }),
    owner: first?.owner ?? '',
    versions: group.map(versionOf),
    tags: [...new Set(rest)],
    ...(fixed === undefined ? {} : { fixed }),
  }
}

function versionOf({ ref, key, tags, createdAt }: Credential): KeyVersion {
  const facts = readTags(tags)
  const issuedAt = facts.issuedAt ?? createdAt
  return {
    ref,
    state: facts.state,
    ...(issuedAt === undefined ? {} : { issuedAt }),
    ...(facts.expiresAt === undefined ? {} : { expiresAt: facts.expiresAt }),
    ...(key === undefined ? {} : { fingerprint: fingerprintOf(key), reveal: () => key }),
  }
}

function fixedBy({ key, tags }: Credential): string | undefined {
  if (key === undefined) return 'its secret is not there'
  if (isReference(key)) return 'its secret is a reference to somewhere else'
  return readTags(tags).malformed.length > 0 ? 'a tag of it that begins with pc- is malformed' : undefined
}

/** deck's and Kong's ways to keep a secret elsewhere. */
export function isReference(key: string): boolean {
  return key.includes('{{') || key.startsWith('{vault://')
}

/** The lifetime a key was issued with, in milliseconds. */
export function lifetimeOf({ issuedAt, expiresAt }: Pick<TagFacts, 'issuedAt' | 'expiresAt'>): number | undefined {
  return issuedAt === undefined || expiresAt === undefined || expiresAt <= issuedAt ? undefined : expiresAt - issuedAt
}

/** Tags of the old credential, once it has a stable id. */
export function tagsWithId(tags: readonly string[], id: string): string[] {
  return readTags(tags).id === undefined ? [...tags, idTag(id)] : [...tags]
}

/** Tags of the new credential that is to take the place of one with these tags. */
export function stagedTags(rest: readonly string[], id: string, issuedAt: number, lifetimeMs?: number): string[] {
  return writeTags({
    rest,
    id,
    state: 'staged',
    issuedAt,
    ...(lifetimeMs === undefined ? {} : { expiresAt: issuedAt + lifetimeMs }),
  })
}

/** Tags of a credential once its successor, or it itself, is known to be delivered. */
export function confirmedTags(tags: readonly string[], isNew: boolean, retireAt: number): string[] {
  const facts = readTags(tags)
  if (isNew) return writeTags({ ...facts, state: 'current' })
  return writeTags({ ...facts, state: 'retired', expiresAt: Math.min(facts.expiresAt ?? retireAt, retireAt) })
}
