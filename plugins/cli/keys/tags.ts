/** What is known of a credential in Kong, as tags of it: Kong keeps them through every reload, and plugins see them. */

import { parseDate, TAGS } from '../../../policies/api-key/lifecycle.ts'
import type { VersionState } from './ports.ts'

const ID = 'pc-id:'
const { issued: ISSUED, expires: EXPIRES } = TAGS
const STAGED = 'pc-staged'
const RETIRED = 'pc-retired'

/** Kong's own rule for a tag (kong/db/schema/typedefs.lua). */
const TAG = /^[ !-+\-.0-~\u0080-\u{10ffff}]+$/u

export interface TagFacts {
  readonly id?: string
  readonly state: VersionState
  /** Epoch milliseconds. */
  readonly issuedAt?: number
  /** Epoch milliseconds. */
  readonly expiresAt?: number
  /** The operator's own. */
  readonly rest: readonly string[]
  /** Tags of ours that say nothing: a date that is none, or two of a kind. */
  readonly malformed: readonly string[]
}

export function readTags(tags: readonly string[]): TagFacts {
  const malformed: string[] = []
  const textOf = (prefix: string): string | undefined => {
    const found = tags.filter((tag) => tag.startsWith(prefix))
    if (found.length > 1) malformed.push(prefix)
    return found.length === 1 ? found[0]?.slice(prefix.length) : undefined
  }
  const timeOf = (prefix: string): number | undefined => {
    const text = textOf(prefix)
    const time = text === undefined ? undefined : parseDate(text)
    if (text !== undefined && time === undefined) malformed.push(prefix)
    return time
  }
  const id = textOf(ID)
  const issuedAt = timeOf(ISSUED)
  const expiresAt = timeOf(EXPIRES)
  return {
    ...(id === undefined || id === '' ? {} : { id }),
    state: tags.includes(STAGED) ? 'staged' : tags.includes(RETIRED) ? 'retired' : 'current',
    ...(issuedAt === undefined ? {} : { issuedAt }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    rest: tags.filter((tag) => !isOurs(tag)),
    malformed,
  }
}

export function writeTags({ id, state, issuedAt, expiresAt, rest }: Omit<TagFacts, 'malformed'>): string[] {
  return [
    ...rest,
    ...(id === undefined ? [] : [`${ID}${id}`]),
    ...(issuedAt === undefined ? [] : [`${ISSUED}${formatTime(issuedAt)}`]),
    ...(expiresAt === undefined ? [] : [`${EXPIRES}${formatTime(expiresAt)}`]),
    ...(state === 'staged' ? [STAGED] : []),
    ...(state === 'retired' ? [RETIRED] : []),
  ]
}

export function idTag(id: string): string {
  return ID + id
}

export function isOurs(tag: string): boolean {
  return tag === STAGED || tag === RETIRED || [ID, ISSUED, EXPIRES].some((prefix) => tag.startsWith(prefix))
}

/** Whether Kong takes it. */
export function isTag(text: string): boolean {
  return TAG.test(text)
}

function formatTime(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19)}Z`
}
