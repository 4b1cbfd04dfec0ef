/**
 * `portcullis.Adopt`: what a plugin server that is replaced hands to the one that took its socket over. Redacted content of
 * requests that are under way goes to the successor, which will be told how they end; where the end of a request that
 * the successor let through still reaches the old server, its content comes back with the answer.
 */

import type { HeldContent } from '../../../policies/audit/held-content.ts'
import { isContentId, type MovedContent, readMovedContent } from '../../../policies/audit/moved-content.ts'
import { isObject } from '../shared-context.ts'
import { RpcError } from './instances.ts'

export const ADOPT = 'portcullis.Adopt'

const VERSION = 1
/** Of content in one message or answer, about: making or reading it takes a millisecond. A larger one goes alone. */
export const CHUNK_BYTES = 262_144
/** Of one message or answer: the longest content, should all of it have to be escaped. */
export const MAX_TEXT_BYTES = 8 * 1_048_576
const MOST_LISTED = 10_000

export interface Adoption {
  readonly contents: readonly MovedContent[]
  /** Ids of what is to come back, if it is there. */
  readonly wanted: readonly string[]
}

export interface AdoptAnswer {
  /** How many of the contents there was no room for, or which were none. */
  readonly refused: number
  readonly found: readonly MovedContent[]
}

/** The argument: JSON, in which any text stays what it is. What is wanted by no proper id is nobody's. */
export function writeAdoption({ contents, wanted }: Adoption): string {
  return JSON.stringify({ version: VERSION, contents, wanted: wanted.filter(isContentId).slice(0, MOST_LISTED) })
}

/**
 * Takes what comes into `held`, and answers with what is wanted back.
 * @throws {RpcError} when it is no such message.
 */
export function adopt(argument: unknown, held: HeldContent): string {
  const message = parse(argument)
  const { contents, wanted } = message
  if (!isShortList(contents) || !isShortList(wanted) || !wanted.every(isContentId)) throw notOne()
  const refused = contents.filter((one) => !adoptOne(one, held)).length
  const answer: AdoptAnswer = { refused, found: findSome(held, wanted) }
  return JSON.stringify({ version: VERSION, ...answer })
}

function adoptOne(one: unknown, held: HeldContent): boolean {
  const content = readMovedContent(one)
  return content !== undefined && held.adopt(content)
}

/** @throws {RpcError} when it is no answer to {@link writeAdoption}. */
export function readAdoptAnswer(result: unknown): AdoptAnswer {
  const { refused, found } = parse(result)
  if (typeof refused !== 'number' || !Number.isSafeInteger(refused) || refused < 0 || !isShortList(found))
    throw notOne()
  return { refused, found: found.map(readMovedContent).filter((content) => content !== undefined) }
}

/** As much as fits into one answer; the rest is asked for again. */
function findSome(held: HeldContent, wanted: readonly string[]): readonly MovedContent[] {
  const found: MovedContent[] = []
  let bytes = 0
  for (const id of wanted) {
    const one = held.find(id)
    if (one === undefined) continue
    found.push(one)
    bytes += 2 * (one.content['portcullis.content.request']?.length ?? 0)
    if (bytes > CHUNK_BYTES) break
  }
  return found
}

function parse(text: unknown): Readonly<Record<string, unknown>> {
  if (typeof text !== 'string' || text.length > MAX_TEXT_BYTES) throw notOne()
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    throw notOne()
  }
  if (!isObject(message) || message.version !== VERSION) throw notOne()
  return message
}

function isShortList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length <= MOST_LISTED
}

function notOne(): RpcError {
  return new RpcError('not content to adopt')
}
