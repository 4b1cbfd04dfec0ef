/** Keys in a declarative file of Kong, for DB-less mode and deck. */

import { fingerprintOf } from '../../../../policies/api-key/index.ts'
import { PortcullisError } from '../../../../policies/errors.ts'
import type { Clock } from '../../../../policies/policy.ts'
import { readWhole, replaceWhole } from '../files.ts'
import type { KeyBackend, ManagedKey, MintKey, StagedSecret } from '../ports.ts'
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
import { type DeckCredential, type DeckFile, readDeck } from './deck-document.ts'
import { type DeckEdit, editDeck } from './deck-edit.ts'

export interface DeckBackendOptions {
  readonly path: string
  readonly mint: MintKey
  readonly clock: Pick<Clock, 'now'>
}

/** Every change replaces the file as a whole, and only while it is as it was read. */
export async function openDeckFile({ path, mint, clock }: DeckBackendOptions): Promise<KeyBackend> {
  let read = await readWhole(path)
  let deck = readDeck(read.text, path)
  let index = indexOf(deck)

  async function save(edits: readonly DeckEdit[]): Promise<void> {
    if (edits.length === 0) return
    const edited = editDeck(deck, edits, path)
    read = await replaceWhole(read, edited.text)
    deck = edited
    index = indexOf(deck)
  }

  /** As the file is now. */
  const found = ({ id, owner, versions }: ManagedKey): readonly Found[] =>
    id === undefined
      ? versions.flatMap(({ ref }) => index.byRef.get(ref) ?? []).filter(({ credential }) => credential.owner === owner)
      : (index.byName.get(nameOf(owner, id)) ?? [])

  function stageOne(
    key: ManagedKey,
  ): { readonly secret: StagedSecret; readonly edits: readonly DeckEdit[] } | undefined {
    const versions = found(key)
    const staged = versions.find(({ credential }) => readTags(credential.tags).state === 'staged')
    if (staged !== undefined) return { secret: secretOf(staged.credential), edits: [] }
    const old = versions.findLast(({ credential }) => readTags(credential.tags).state === 'current')
    if (old === undefined) return undefined
    const { id, text } = mint(key.id)
    const facts = readTags(old.credential.tags)
    const tags = stagedTags(facts.rest, id, wholeSeconds(clock), lifetimeOf(facts))
    const named = facts.id === undefined
    return {
      secret: secretOf({ ref: '', owner: key.owner, key: text, tags }),
      edits: [
        ...(named ? [{ type: 'tags', credential: old.node, tags: tagsWithId(old.credential.tags, id) } as const] : []),
        { type: 'after', credential: old.node, added: { key: text, tags } },
      ],
    }
  }

  return {
    name: path,
    batch: 1_000,
    afterwards: 'load the file into Kong (deck gateway sync, POST /config or kong reload): until then nothing changes',
    list: async () => groupCredentials(index.all.map(({ credential }) => credential)),
    async issue({ owner, tags: rest, lifetimeMs }) {
      const consumer = deck.consumers.get(owner)
      if (consumer === undefined) throw new PortcullisError('unknown_consumer', `${path}: has no such consumer`)
      const { id, text } = mint()
      const tags = stagedTags(rest, id, wholeSeconds(clock), lifetimeMs)
      await save([{ type: 'add', consumer: owner, added: { key: text, tags } }])
      return secretOf({ ref: '', owner: consumer.name, key: text, tags })
    },
    async stage(keys) {
      const staged = keys.flatMap((key) => stageOne(key) ?? [])
      await save(staged.flatMap(({ edits }) => edits))
      return staged.map(({ secret }) => secret)
    },
    async confirm(staged, retireAt) {
      const edits = staged.flatMap((secret): DeckEdit[] => {
        const versions = index.byName.get(nameOf(secret.owner, secret.id)) ?? []
        const isNew = ({ credential }: Found) => credential.key === secret.reveal()
        if (!versions.some(isNew))
          throw new PortcullisError('rotated_meanwhile', `${secret.id}: somebody else took the new secret away again`)
        return versions.map((version) => ({
          type: 'tags',
          credential: version.node,
          tags: confirmedTags(version.credential.tags, isNew(version), retireAt),
        }))
      })
      await save(edits)
    },
    revoke: (key) => save(found(key).map(({ node }) => ({ type: 'remove', credential: node }))),
    async prune(removals) {
      const edits = removals.flatMap(({ key, versions }): DeckEdit[] => {
        const refs = new Set(versions.map(({ ref }) => ref))
        return found(key)
          .filter(({ credential }) => refs.has(credential.ref))
          .map(({ node }) => ({ type: 'remove', credential: node }))
      })
      await save(edits)
    },
    async close() {},
  }
}

interface Found {
  readonly credential: Credential
  readonly node: DeckCredential
}

interface Index {
  readonly all: readonly Found[]
  readonly byRef: ReadonlyMap<string, readonly Found[]>
  /** Of those with a stable id. */
  readonly byName: ReadonlyMap<string, readonly Found[]>
}

function indexOf(deck: DeckFile): Index {
  const all = findAll(deck)
  const [byRef, byName] = [new Map<string, Found[]>(), new Map<string, Found[]>()]
  const add = (map: Map<string, Found[]>, name: string, found: Found) =>
    map.set(name, [...(map.get(name) ?? []), found])
  for (const found of all) {
    add(byRef, found.credential.ref, found)
    const id = idOf(found.credential)
    if (id !== undefined) add(byName, nameOf(found.credential.owner, id), found)
  }
  return { all, byRef, byName }
}

function nameOf(owner: string, id: string): string {
  return JSON.stringify([owner, id])
}

function findAll({ credentials }: DeckFile): Found[] {
  return credentials.map((node, index) => {
    const { owner, key, tags, createdAt } = node
    return {
      node,
      credential: {
        ref: key === undefined ? `without key ${index}` : fingerprintOf(key),
        owner,
        tags,
        ...(key === undefined ? {} : { key }),
        ...(createdAt === undefined ? {} : { createdAt: createdAt * 1_000 }),
      },
    }
  })
}

function secretOf({ owner, key = '', tags }: Credential): StagedSecret {
  const { id = '', issuedAt = 0, expiresAt } = readTags(tags)
  return { id, owner, issuedAt, ...(expiresAt === undefined ? {} : { expiresAt }), reveal: () => key }
}

/** What a tag can say. */
function wholeSeconds(clock: Pick<Clock, 'now'>): number {
  return Math.floor(clock.now() / 1_000) * 1_000
}
