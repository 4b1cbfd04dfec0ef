/** Keys as key-auth credentials of a running Kong with a database. */

import { createHash } from 'node:crypto'
import { PortcullisError } from '../../../../policies/errors.ts'
import type { Clock } from '../../../../policies/policy.ts'
import type { KeyBackend, KeyVersion, ManagedKey, MintKey, StagedSecret } from '../ports.ts'
import { readTags } from '../tags.ts'
import {
  type Credential,
  confirmedTags,
  groupCredentials,
  idOf,
  lifetimeOf,
  stagedTags,
  tagsWithId,
} from './credentials.ts'
import type { AdminCredential, KongAdmin } from './kong-admin.ts'

export interface KongBackendOptions {
  readonly admin: KongAdmin
  readonly mint: MintKey
  readonly clock: Pick<Clock, 'now'>
}

/**
 * Each step is one call, and a new credential's id follows from the old one's: of two runs at a time only one makes it, and
 * the other takes it up.
 */
export function createKongBackend({ admin, mint, clock }: KongBackendOptions): KeyBackend {
  /** As last read or written, by id. */
  const known = new Map<string, AdminCredential>()
  const owners = new Map<string, string>()
  /** Ids of credentials, by consumer and stable id. */
  const groups = new Map<string, Set<string>>()

  /** Also of one made by hand whose successor is there: that names it until the old one is tagged itself. */
  function stableIdOf(credential: AdminCredential): string | undefined {
    const successor = known.get(successorOf(credential.id))
    return idOf(credential) ?? (successor === undefined ? undefined : idOf(successor))
  }

  function remember(credential: AdminCredential): void {
    known.set(credential.id, credential)
    assign(credential)
  }

  function assign(credential: AdminCredential): void {
    const stable = stableIdOf(credential)
    if (stable === undefined) return
    const name = nameOf(owners.get(credential.consumerId) ?? credential.consumerId, stable)
    groups.set(name, (groups.get(name) ?? new Set()).add(credential.id))
  }

  async function load(): Promise<readonly Credential[]> {
    const [readOnly, consumers, credentials] = [
      await admin.isReadOnly(),
      await admin.consumers(),
      await admin.credentials(),
    ]
    known.clear()
    groups.clear()
    for (const { id, name } of consumers) owners.set(id, name)
    for (const credential of credentials) known.set(credential.id, credential)
    for (const credential of credentials) assign(credential)
    return credentials.map((credential) => toCredential(credential, readOnly))
  }

  function toCredential(credential: AdminCredential, readOnly: boolean): Credential {
    const { id, consumerId, key, tags, createdAt } = credential
    const stable = stableIdOf(credential)
    return {
      ref: id,
      owner: owners.get(consumerId) ?? consumerId,
      key,
      tags: stable === undefined ? tags : tagsWithId(tags, stable),
      ...(readOnly ? {} : { createdAt: createdAt * 1_000 }),
    }
  }

  function credentialOf({ ref }: Pick<KeyVersion, 'ref'>): AdminCredential {
    const found = known.get(ref)
    if (found === undefined) throw new PortcullisError('rotated_meanwhile', 'a credential is gone meanwhile')
    return found
  }

  async function setTags(credential: AdminCredential, tags: readonly string[]): Promise<AdminCredential> {
    if (!(await admin.setTags(credential, tags)))
      throw new PortcullisError('rotated_meanwhile', 'somebody else removed a credential meanwhile')
    const changed = { ...credential, tags }
    remember(changed)
    return changed
  }

  async function stageOne(key: ManagedKey): Promise<StagedSecret | undefined> {
    const staged = key.versions.find(({ state }) => state === 'staged')
    if (staged !== undefined) return secretOf(credentialOf(staged), key.owner)
    const version = key.versions.findLast(({ state }) => state === 'current')
    if (version === undefined) return undefined
    const { id, text } = mint(key.id)
    const old = credentialOf(version)
    const facts = readTags(old.tags)
    const life = lifetimeOf({ issuedAt: facts.issuedAt ?? old.createdAt * 1_000, ...pick(facts.expiresAt) })
    const tags = stagedTags(facts.rest, id, wholeSeconds(clock), life)
    const created = { id: successorOf(old.id), consumerId: old.consumerId, key: text, tags }
    if (await admin.create(created)) {
      const credential = { ...created, createdAt: Math.floor(clock.now() / 1_000) }
      remember(credential)
      assign(old)
      return secretOf(credential, key.owner)
    }
    const other = await admin.credential(old.consumerId, created.id)
    if (other === undefined) throw new PortcullisError('rotated_meanwhile', `${id}: somebody else is changing it`)
    remember(other)
    assign(old)
    return readTags(other.tags).state === 'staged' ? secretOf(other, key.owner) : undefined
  }

  async function confirmOne(secret: StagedSecret, retireAt: number): Promise<void> {
    const ids = groups.get(nameOf(secret.owner, secret.id)) ?? new Set()
    const versions = [...ids].flatMap((id) => known.get(id) ?? [])
    const fresh = versions.find(({ key }) => key === secret.reveal())
    if (fresh === undefined) throw new PortcullisError('rotated_meanwhile', `${secret.id}: is gone meanwhile`)
    for (const old of versions)
      if (old !== fresh) await setTags(old, confirmedTags(tagsWithId(old.tags, secret.id), false, retireAt))
    // Last: until here the next run takes it up.
    await setTags(fresh, confirmedTags(fresh.tags, true, retireAt))
  }

  async function removeAll(versions: readonly KeyVersion[]): Promise<void> {
    for (const version of versions) {
      await admin.remove(credentialOf(version))
      known.delete(version.ref)
    }
  }

  return {
    name: `Kong at ${admin.address}`,
    batch: 1,
    list: async () => groupCredentials(await load()),
    async issue({ owner, tags: rest, lifetimeMs }) {
      const consumer = await admin.consumer(owner)
      if (consumer === undefined) throw new PortcullisError('unknown_consumer', 'Kong has no such consumer')
      owners.set(consumer.id, consumer.name)
      const { id, text } = mint()
      const tags = stagedTags(rest, id, wholeSeconds(clock), lifetimeMs)
      const created = { id: successorOf(id), consumerId: consumer.id, key: text, tags }
      if (!(await admin.create(created))) throw new PortcullisError('key_exists', 'the new key is there already')
      const credential = { ...created, createdAt: Math.floor(clock.now() / 1_000) }
      remember(credential)
      return secretOf(credential, consumer.name)
    },
    async stage(keys) {
      const staged: StagedSecret[] = []
      for (const key of keys) {
        const secret = await stageOne(key)
        if (secret !== undefined) staged.push(secret)
      }
      return staged
    },
    async confirm(staged, retireAt) {
      for (const secret of staged) await confirmOne(secret, retireAt)
    },
    revoke: (key) => removeAll(key.versions),
    async prune(removals) {
      for (const { versions } of removals) await removeAll(versions)
    },
    async close() {},
  }
}

function nameOf(owner: string, id: string): string {
  return JSON.stringify([owner, id])
}

function pick(expiresAt: number | undefined) {
  return expiresAt === undefined ? {} : { expiresAt }
}

function secretOf({ key, tags }: AdminCredential, owner: string): StagedSecret {
  const { id = '', issuedAt = 0, expiresAt } = readTags(tags)
  return { id, owner, issuedAt, ...pick(expiresAt), reveal: () => key }
}

/** A UUID of version 8 (RFC 9562 5.8) that only this credential's successor has. */
function successorOf(id: string): string {
  const bytes = createHash('sha256').update(`portcullis successor of ${id}`).digest().subarray(0, 16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

/** What a tag can say. */
function wholeSeconds(clock: Pick<Clock, 'now'>): number {
  return Math.floor(clock.now() / 1_000) * 1_000
}
