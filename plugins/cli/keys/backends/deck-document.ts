/** A declarative file of Kong (also deck's), read for its key-auth credentials. What it says of anything else is left alone. */

import { type Document, isAlias, isMap, isScalar, isSeq, parseDocument, visit, type YAMLMap, type YAMLSeq } from 'yaml'
import { PortcullisError } from '../../../../policies/errors.ts'

export interface DeckCredential {
  readonly owner: string
  /** Absent where Kong makes one up, so that nobody knows it. */
  readonly key?: string
  readonly tags: readonly string[]
  /** Epoch seconds, where the file says so. */
  readonly createdAt?: number
  readonly node: YAMLMap
  readonly list: YAMLSeq
}

export interface DeckFile {
  readonly document: Document
  readonly text: string
  readonly credentials: readonly DeckCredential[]
  /** By each of their names. */
  readonly consumers: ReadonlyMap<string, DeckConsumer>
}

export interface DeckConsumer {
  readonly name: string
  readonly node: YAMLMap
}

const CREDENTIALS = 'keyauth_credentials'

/**
 * @param path for messages, which name lines and never quote the file
 * @throws {PortcullisError} `unreadable_file`
 */
export function readDeck(text: string, path: string): DeckFile {
  const fail = (why: string) => new PortcullisError('unreadable_file', `${path}: ${why}`)
  const document = parse(text, fail)
  const root = document.contents
  if (!isMap(root)) throw fail('is no declarative config')
  const consumers = new Map<string, DeckConsumer>()
  const credentials: DeckCredential[] = []

  for (const [at, node] of mapsOf(root, 'consumers', fail)) {
    assertPlain(node, at, fail)
    const names = ['username', 'custom_id', 'id'].flatMap((field) => textOf(node, field, at, fail) ?? [])
    const [name] = names
    if (name === undefined) throw fail(`${at}: has no username, custom_id or id`)
    for (const each of names) consumers.set(each, { name, node })
    for (const [where, credential, list] of mapsOf(node, CREDENTIALS, fail, `${at}.`))
      credentials.push({ ...readCredential(credential, where, fail), owner: name, node: credential, list })
  }
  for (const [at, node, list] of mapsOf(root, CREDENTIALS, fail)) {
    assertPlain(node, at, fail)
    const consumer = consumerOf(node, at, fail)
    const owner = consumers.get(consumer)?.name ?? consumer
    credentials.push({ ...readCredential(node, at, fail), owner, node, list })
  }
  return { document, text, credentials, consumers }
}

type Fail = (why: string) => PortcullisError

function parse(text: string, fail: Fail): Document {
  let document: Document
  try {
    document = parseDocument(text, { prettyErrors: true, logLevel: 'error', strict: true, uniqueKeys: true })
  } catch {
    // The parser runs out of stack on what nests thousands deep.
    throw fail('is no readable YAML')
  }
  const [error] = document.errors
  if (error !== undefined) {
    const line = error.linePos?.[0].line
    const why = error.code === 'MULTIPLE_DOCS' ? 'holds several documents' : `is no valid YAML (${error.code})`
    throw fail(line === undefined ? why : `line ${line}: ${why}`)
  }
  return document
}

/** An edit of what an alias repeats would change more than one place. */
function assertPlain(node: YAMLMap, at: string, fail: Fail): void {
  visit(node, {
    Node(_, each) {
      if (isAlias(each)) throw fail(`${at}: holds an alias; write credentials out, so that each can be changed alone`)
      if (each.anchor !== undefined) throw fail(`${at}: holds an anchor; write credentials out`)
    },
  })
}

function* mapsOf(parent: YAMLMap, field: string, fail: Fail, before = ''): Generator<[string, YAMLMap, YAMLSeq]> {
  const list = parent.get(field, true)
  if (list === undefined || (isScalar(list) && list.value === null)) return
  if (!isSeq(list)) throw fail(`${before}${field}: must be a list`)
  for (const [index, node] of list.items.entries()) {
    if (!isMap(node)) throw fail(`${before}${field}[${index}]: must be a map`)
    yield [`${before}${field}[${index}]`, node, list]
  }
}

function readCredential(node: YAMLMap, at: string, fail: Fail): Pick<DeckCredential, 'key' | 'tags' | 'createdAt'> {
  const key = textOf(node, 'key', at, fail)
  const tags = node.get('tags', true)
  const created = node.get('created_at')
  return {
    ...(key === undefined ? {} : { key }),
    tags: isSeq(tags)
      ? tags.items.map((item, index) => tagOf(item, `${at}.tags[${index}]`, fail))
      : noTags(tags, at, fail),
    ...(typeof created === 'number' ? { createdAt: created } : {}),
  }
}

function tagOf(item: unknown, at: string, fail: Fail): string {
  if (isScalar(item) && typeof item.value === 'string') return item.value
  throw fail(`${at}: must be text`)
}

function noTags(tags: unknown, at: string, fail: Fail): readonly string[] {
  if (tags === undefined || (isScalar(tags) && tags.value === null)) return []
  throw fail(`${at}.tags: must be a list`)
}

function textOf(node: YAMLMap, field: string, at: string, fail: Fail): string | undefined {
  const value = node.get(field, true)
  if (value === undefined || (isScalar(value) && value.value === null)) return undefined
  if (isScalar(value) && typeof value.value === 'string' && value.value !== '') return value.value
  throw fail(`${at}.${field}: must be text`)
}

/** `consumer: alice`, or a map that names it. */
function consumerOf(node: YAMLMap, at: string, fail: Fail): string {
  const consumer = node.get('consumer', true)
  const name = isMap(consumer)
    ? (textOf(consumer, 'username', at, fail) ?? textOf(consumer, 'id', at, fail))
    : textOf(node, 'consumer', at, fail)
  if (name === undefined) throw fail(`${at}: does not say whose it is`)
  return name
}
