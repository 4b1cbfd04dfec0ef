/**
 * Changes credentials of a declarative file. Every line that does not belong to a changed credential stays as it is, byte for
 * byte; where that cannot be done, the whole file is written anew from its document, comments and order kept.
 */

import { isDeepStrictEqual } from 'node:util'
import { type Document, isMap, isNode, isSeq, Lexer, Scalar, YAMLMap, YAMLSeq } from 'yaml'
import { PortcullisError } from '../../../../policies/errors.ts'
import { type DeckCredential, type DeckFile, readDeck } from './deck-document.ts'
import { commentsIn, createSplices, type Splices, styleOf } from './deck-splices.ts'

export interface NewCredential {
  readonly key: string
  readonly tags: readonly string[]
}

export type DeckEdit =
  | { readonly type: 'tags'; readonly credential: DeckCredential; readonly tags: readonly string[] }
  | { readonly type: 'after'; readonly credential: DeckCredential; readonly added: NewCredential }
  | { readonly type: 'remove'; readonly credential: DeckCredential }
  | { readonly type: 'add'; readonly consumer: string; readonly added: NewCredential }

/** The file as it shall be. What is in `file` is used up. @throws {PortcullisError} `uneditable_file` */
export function editDeck(file: DeckFile, edits: readonly DeckEdit[], path: string): DeckFile {
  if (edits.length === 0) return file
  const splices = createSplices(file)
  for (const edit of edits) apply(file, edit, splices)
  const wanted = saidBy(file.document)
  const candidates = [() => splices.text(), () => writeJson(file), () => writeDocument(file)]
  for (const candidate of candidates) {
    const text = candidate()
    const edited = text === undefined ? undefined : readFaithful(text, file.text, wanted, path)
    if (edited !== undefined) return edited
  }
  throw new PortcullisError('uneditable_file', `${path}: cannot be changed without losing a comment`)
}

function apply(file: DeckFile, edit: DeckEdit, splices: Splices): void {
  switch (edit.type) {
    case 'tags':
      setTags(edit.credential.node, edit.tags)
      splices.changed(edit.credential)
      return
    case 'after': {
      const { node, list } = edit.credential
      const added = newNode(edit.added, node.flow === true)
      list.items.splice(list.items.indexOf(node) + 1, 0, copyOwner(node, added))
      splices.after(edit.credential, added)
      return
    }
    case 'remove': {
      const { node, list } = edit.credential
      const at = list.items.indexOf(node)
      keepComments(list, at)
      list.items.splice(at, 1)
      if (list.items.length === 0) list.flow = true
      splices.removed(edit.credential)
      return
    }
    case 'add':
      addTo(file, edit, splices)
  }
}

function addTo(
  file: DeckFile,
  { consumer, added }: Extract<DeckEdit, { readonly type: 'add' }>,
  splices: Splices,
): void {
  const found = file.consumers.get(consumer)
  if (found === undefined) throw new PortcullisError('unknown_consumer', 'there is no such consumer')
  const node = newNode(added, found.node.flow === true)
  const list = found.node.get('keyauth_credentials', true)
  if (isSeq(list)) {
    const last = file.credentials.findLast((credential) => credential.list === list)
    list.items.push(node)
    if (last === undefined) splices.impossible()
    else splices.after(last, node)
    return
  }
  const fresh = new YAMLSeq()
  fresh.items.push(node)
  found.node.set('keyauth_credentials', fresh)
  if (list === undefined) splices.first(found, node)
  else splices.impossible()
}

function newNode({ key, tags }: NewCredential, flow: boolean): YAMLMap {
  const list = new YAMLSeq()
  list.items = tags.map(textNode)
  list.flow = true
  const node = new YAMLMap()
  node.set('key', textNode(key))
  node.set('tags', list)
  node.flow = flow
  return node
}

/** A credential that stands outside its consumer names it. */
function copyOwner(from: YAMLMap, to: YAMLMap): YAMLMap {
  const consumer = from.get('consumer', true)
  if (consumer !== undefined) to.set('consumer', isMap(consumer) ? consumer.clone() : from.get('consumer'))
  return to
}

function setTags(node: YAMLMap, tags: readonly string[]): void {
  const list = node.get('tags', true)
  if (!isSeq(list)) {
    const fresh = new YAMLSeq()
    fresh.items = tags.map(textNode)
    fresh.flow = true
    node.set('tags', fresh)
    return
  }
  // Those that stay keep their comments.
  const known = new Map(list.items.map((item) => [(item as Scalar).value, item]))
  list.items = tags.map((tag) => known.get(tag) ?? textNode(tag))
}

/** Quoted where some reader of YAML, also of 1.1, would take it for something else. */
function textNode(text: string): Scalar {
  const node = new Scalar(text)
  const plain = /^[a-z][\w-]*$/i.test(text) && !/^(?:y|n|yes|no|on|off|true|false|null)$/i.test(text)
  node.type = plain ? Scalar.PLAIN : Scalar.QUOTE_DOUBLE
  return node
}

/** What was written about a credential goes to the one that takes its place. */
function keepComments(list: YAMLSeq, at: number): void {
  const gone = list.items[at]
  const next = list.items[at + 1]
  if (!isMap(gone)) return
  const comments = [gone.commentBefore, ...commentsIn(gone)].filter((text) => text !== undefined && text !== null)
  if (comments.length === 0) return
  const text = comments.join('\n')
  if (isMap(next)) next.commentBefore = [text, next.commentBefore].filter((each) => each != null).join('\n')
  else list.comment = [list.comment, text].filter((each) => each != null).join('\n')
}

function writeDocument({ document, text }: DeckFile): string {
  const { indentSeq } = styleOf(text)
  const written = document.toString({ lineWidth: 0, indentSeq, flowCollectionPadding: false })
  const marked = text.startsWith('\ufeff') ? `\ufeff${written}` : written
  return text.includes('\r\n') ? marked.replace(/\r?\n/g, '\r\n') : marked
}

/** JSON is YAML, but what is written into it must be JSON again. */
function writeJson({ text, document }: DeckFile): string | undefined {
  try {
    JSON.parse(text)
  } catch {
    return undefined
  }
  const step = /^[[{]\s*?\n([ \t]+)/.exec(text)?.[1] ?? (text.includes('\n') ? 2 : 0)
  return `${JSON.stringify(document.toJS(), null, step)}${text.endsWith('\n') ? '\n' : ''}`
}

/** Undefined unless it says what it should, and has every comment. */
function readFaithful(text: string, before: string, wanted: unknown, path: string): DeckFile | undefined {
  const edited = readDeck(text, path)
  if (!isDeepStrictEqual(saidBy(edited.document), wanted)) return undefined
  const left = countComments(text)
  return [...countComments(before)].every(([comment, times]) => (left.get(comment) ?? 0) >= times) ? edited : undefined
}

/** Where credentials are; there are no aliases in it, which could make it endless. */
function saidBy(document: Document): unknown {
  const { contents } = document
  if (!isMap(contents)) return undefined
  return ['consumers', 'keyauth_credentials'].map((field) => {
    const node = contents.get(field, true)
    return isNode(node) ? node.toJS(document) : undefined
  })
}

function countComments(text: string): Map<string, number> {
  const counts = new Map<string, number>()
  let before = ''
  for (const lexeme of new Lexer().lex(text)) {
    // What follows the mark is a scalar, whatever it looks like.
    if (lexeme.startsWith('#') && before !== SCALAR) {
      const comment = lexeme.replace(/^#\s*/, '').trim()
      counts.set(comment, (counts.get(comment) ?? 0) + 1)
    }
    before = lexeme
  }
  return counts
}

/** The lexer's mark before a scalar. */
const SCALAR = '\x1f'
