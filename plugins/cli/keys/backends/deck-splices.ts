/** Changes of credentials written as lines: every other line of the file stays as it is, byte for byte. */

import { Document, isSeq, type YAMLMap, YAMLSeq } from 'yaml'
import type { DeckConsumer, DeckCredential, DeckFile } from './deck-document.ts'

interface Splice {
  readonly start: number
  readonly end: number
  readonly text: string
}

/** What stands in a block list as `- key: ...`, with its place in the text. */
interface Place {
  readonly start: number
  readonly end: number
  readonly column: number
}

/** Collects changes of credentials, and writes them as lines. */
export interface Splices {
  changed(credential: DeckCredential): void
  removed(credential: DeckCredential): void
  after(credential: DeckCredential, added: YAMLMap): void
  /** Of a consumer that has no list of credentials yet. */
  first(consumer: DeckConsumer, added: YAMLMap): void
  impossible(): void
  /** Undefined where the file is not written so that lines can be replaced. */
  text(): string | undefined
}

export function createSplices({ text }: DeckFile): Splices {
  const style = styleOf(text)
  const changed = new Set<DeckCredential>()
  const removed = new Set<DeckCredential>()
  const added = new Map<DeckCredential, YAMLMap[]>()
  const firsts: [DeckConsumer, YAMLMap][] = []
  let possible = true

  function spliceFor(credential: DeckCredential, { start, end, column }: Place): Splice {
    const old = text.slice(start, end)
    const now = removed.has(credential)
      ? commentsIn(credential.node).map((comment) => indent(comment.replace(/^/gm, '#'), column))
      : [changed.has(credential) ? render(credential.node, column, style) : old]
    const fresh = (added.get(credential) ?? []).map((node) => render(node, column, style))
    const lines = [...now, ...fresh].map((part) => (part.endsWith('\n') ? part : `${part}\n`)).join('')
    return { start, end, text: end === text.length && !old.endsWith('\n') ? lines.replace(/\n$/, '') : lines }
  }

  return {
    changed: (credential) => void changed.add(credential),
    removed(credential) {
      removed.add(credential)
      // An empty list has to be written differently.
      if (credential.list.items.length === 0) possible = false
    },
    after: (credential, node) => void added.set(credential, [node, ...(added.get(credential) ?? [])]),
    first: (consumer, node) => void firsts.push([consumer, node]),
    impossible() {
      possible = false
    },
    text() {
      if (!possible) return undefined
      const splices: Splice[] = []
      for (const credential of new Set([...changed, ...removed, ...added.keys()])) {
        const place = placeOf(credential, text)
        if (place === undefined) return undefined
        splices.push(spliceFor(credential, place))
      }
      for (const [consumer, node] of firsts) {
        const splice = spliceForFirst(consumer, node, text, style)
        if (splice === undefined) return undefined
        splices.push(splice)
      }
      return join(splices, text)
    },
  }
}

/** After the last line of a consumer that is written as a block. */
function spliceForFirst({ node }: DeckConsumer, added: YAMLMap, text: string, style: Style): Splice | undefined {
  if (node.flow === true || node.range == null) return undefined
  const [first, last] = node.range
  const column = first - (text.lastIndexOf('\n', first) + 1)
  const lineEnd = text.indexOf('\n', Math.max(first, last - 1))
  const at = lineEnd === -1 ? text.length : lineEnd + 1
  const list = render(added, column + (style.indentSeq ? 2 : 0), style)
  const lines = `${' '.repeat(column)}keyauth_credentials:\n${list}`
  return { start: at, end: at, text: lineEnd === -1 ? `\n${lines.replace(/\n$/, '')}` : lines }
}

function join(splices: readonly Splice[], text: string): string {
  const crlf = text.includes('\r\n')
  const parts: string[] = []
  let at = 0
  for (const splice of splices.toSorted((a, b) => a.start - b.start)) {
    parts.push(text.slice(at, splice.start), crlf ? splice.text.replace(/\r?\n/g, '\r\n') : splice.text)
    at = splice.end
  }
  return parts.join('') + text.slice(at)
}

/** Undefined for flow style, and wherever something stands between the dash and the map. */
function placeOf({ node, list }: DeckCredential, text: string): Place | undefined {
  if (list.flow === true || node.flow === true || node.range == null) return undefined
  const [first, , last] = node.range
  const dash = text.lastIndexOf('-', first)
  if (dash === -1 || !/^- +$/.test(text.slice(dash, first))) return undefined
  const start = text.lastIndexOf('\n', dash) + 1
  const before = text.slice(start, dash)
  if (!/^ *$/.test(before)) return undefined
  // The node's end may lie in the line after it.
  const lineEnd = text.indexOf('\n', Math.max(first, last - 1))
  return { start, end: lineEnd === -1 ? text.length : lineEnd + 1, column: before.length }
}

export interface Style {
  readonly indentSeq: boolean
}

export function styleOf(text: string): Style {
  return { indentSeq: !/^( *)[^\s#-][^\n]*:[ \t]*\r?\n\1- /m.test(text) }
}

function render(node: YAMLMap, column: number, { indentSeq }: Style): string {
  const copy = node.clone() as YAMLMap
  copy.commentBefore = null
  copy.spaceBefore = false
  const list = new YAMLSeq()
  list.items.push(copy)
  const text = new Document(list).toString({ lineWidth: 0, indentSeq, flowCollectionPadding: false })
  return indent(text, column)
}

function indent(text: string, column: number): string {
  return text.replace(/^(?=.)/gm, ' '.repeat(column))
}

/** What is written about a credential, but for what stands above it. */
export function commentsIn(node: YAMLMap): string[] {
  const found: string[] = []
  const look = (each: unknown) => {
    if (typeof each !== 'object' || each === null) return
    const { commentBefore, comment } = each as { readonly commentBefore?: unknown; readonly comment?: unknown }
    for (const text of [commentBefore, comment]) if (typeof text === 'string') found.push(text)
  }
  for (const { key, value } of node.items) {
    look(key)
    look(value)
    if (isSeq(value)) value.items.forEach(look)
  }
  look({ comment: node.comment })
  return found
}
