/** Content on its way from one process to another, as plain data; whoever gets it reads it as something hostile. */

import { isObject } from '../llm/json.ts'
import type { Content } from './content.ts'

export interface MovedContent {
  /** Of the reservation. */
  readonly id: string
  /** How long it has waited, in milliseconds. */
  readonly waitedMs: number
  readonly content: Content
}

/** The most that `max_content_bytes` can be. */
const MOST_BYTES = 1_048_576
/** There are fewer kinds of values. */
const MOST_TYPES = 1_000
const ID = /^[\w-]{1,64}$/
const TYPE = /^[A-Z][A-Z0-9_]{0,39}$/
/** Why there is no text although it was asked for; other reasons travel with the request. */
const DROPPED: ReadonlySet<unknown> = new Set(['unreadable', 'redaction_failed'])

/** Undefined for what no process of this version gives up. */
export function readMovedContent(value: unknown): MovedContent | undefined {
  if (!isObject(value) || !hasOnly(value, ['id', 'waitedMs', 'content'])) return undefined
  const { id, waitedMs, content } = value
  if (!isContentId(id) || !isObject(content) || !isContent(content)) return undefined
  if (typeof waitedMs !== 'number' || !Number.isFinite(waitedMs) || waitedMs < 0) return undefined
  return { id, waitedMs, content }
}

export function isContentId(value: unknown): value is string {
  return typeof value === 'string' && ID.test(value)
}

function isContent(value: Readonly<Record<string, unknown>>): value is Content {
  const dropped = value['portcullis.content.request.dropped']
  if (dropped !== undefined) return DROPPED.has(dropped) && Object.keys(value).length === 1
  return (
    hasOnly(value, Object.keys(TEXT_MEMBERS)) &&
    Object.entries(TEXT_MEMBERS).every(([name, isRight]) => !Object.hasOwn(value, name) || isRight(value[name])) &&
    Object.hasOwn(value, 'portcullis.content.request')
  )
}

const TEXT_MEMBERS: Readonly<Record<string, (value: unknown) => boolean>> = {
  'portcullis.content.request': (text) => typeof text === 'string' && Buffer.byteLength(text) <= MOST_BYTES,
  'portcullis.content.request.truncated': (truncated) => truncated === true,
  'portcullis.content.request.findings': isCounts,
}

function isCounts(value: unknown): boolean {
  if (!isObject(value)) return false
  const counts = Object.entries(value)
  return (
    counts.length <= MOST_TYPES &&
    counts.every(([type, count]) => TYPE.test(type) && Number.isSafeInteger(count) && Number(count) > 0)
  )
}

function hasOnly(value: Readonly<Record<string, unknown>>, names: readonly string[]): boolean {
  return Object.keys(value).every((name) => names.includes(name))
}
