/** Reads YAML or JSON into plain values that remember their lines. Bombs, cycles and depth end in an error. */

import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseAllDocuments, Scalar } from 'yaml'
import { PortcullisError } from '../../../policies/errors.ts'
import type { Place } from './place.ts'

/** Words of YAML 1.1 that Kong's reader and deck's take for true or false where they stand without quotes. */
const YES = new Set(['yes', 'Yes', 'YES', 'on', 'On', 'ON'])
const NO = new Set(['no', 'No', 'NO', 'off', 'Off', 'OFF'])

export const MAX_FILE_BYTES = 16 * 1024 * 1024
const MAX_NODES = 500_000
const MAX_DEPTH = 64

/** Lines of every object and list that was read, and of their members. */
export class Places {
  private readonly known = new WeakMap<
    object,
    { readonly place: Place; readonly members: Map<string | number, Place> }
  >()

  note(value: object, place: Place): Map<string | number, Place> {
    const members = new Map<string | number, Place>()
    this.known.set(value, { place, members })
    return members
  }

  /** Of a member when it is known, else of the whole. */
  of(value: object, member?: string | number): Place | undefined {
    const found = this.known.get(value)
    return (member === undefined ? undefined : found?.members.get(member)) ?? found?.place
  }
}

/**
 * @throws {PortcullisError} `unreadable_file`, with the line and never with the text.
 */
export function readDocument(content: string, file: string, places: Places): unknown {
  const lines = new LineCounter()
  const refuse = (why: string, offset?: number): PortcullisError => {
    const at = offset === undefined ? file : `${file}:${lines.linePos(offset).line}`
    return new PortcullisError('unreadable_file', `${at}: ${why}`)
  }
  if (Buffer.byteLength(content) > MAX_FILE_BYTES) throw refuse(`is larger than ${MAX_FILE_BYTES} bytes`)

  const anchors = new Map<string, Node>()
  let nodes = 0

  function convert(node: unknown, depth: number): unknown {
    if (++nodes > MAX_NODES) throw refuse('holds too much once its aliases are expanded')
    if (depth > MAX_DEPTH) throw refuse('is nested too deeply, or refers to itself')
    if (isAlias(node)) {
      const target = anchors.get(node.source)
      if (target === undefined) throw refuse('refers to an anchor that is not there', node.range?.[0])
      return convert(target, depth + 1)
    }
    if (isScalar(node)) {
      if (node.anchor !== undefined) anchors.set(node.anchor, node)
      return scalarOf(node)
    }
    if (isSeq(node)) return convertList(node, depth)
    if (isMap(node)) return convertMap(node, depth)
    return null
  }

  const placeOf = (node: unknown): Place => {
    const offset = (node as Node | null)?.range?.[0]
    return offset === undefined ? { file } : { file, line: lines.linePos(offset).line }
  }

  function convertList(node: Node & { readonly items: readonly unknown[] }, depth: number): unknown[] {
    if (node.anchor !== undefined) anchors.set(node.anchor, node)
    const list: unknown[] = []
    const members = places.note(list, placeOf(node))
    for (const [index, item] of node.items.entries()) {
      members.set(index, placeOf(item))
      list.push(convert(item, depth + 1))
    }
    return list
  }

  function convertMap(node: Node & { readonly items: readonly unknown[] }, depth: number): object {
    if (node.anchor !== undefined) anchors.set(node.anchor, node)
    const object: Record<string, unknown> = Object.create(null)
    const members = places.note(object, placeOf(node))
    for (const pair of node.items) {
      if (!isPair(pair)) continue
      const key = isScalar(pair.key) ? String(pair.key.value) : undefined
      if (key === undefined) throw refuse('has a key that is no text', (pair.key as Node | null)?.range?.[0])
      const value = convert(pair.value, depth + 1)
      if (key === '<<') merge(object, value, members)
      else {
        object[key] = value
        members.set(key, placeOf(pair.key))
      }
    }
    return object
  }

  /** YAML 1.1's merge key, which Kong and deck still read: own members win. */
  function merge(into: Record<string, unknown>, value: unknown, members: Map<string | number, Place>): void {
    for (const from of Array.isArray(value) ? value : [value]) {
      if (typeof from !== 'object' || from === null) continue
      for (const [key, member] of Object.entries(from)) {
        if (Object.hasOwn(into, key)) continue
        into[key] = member
        const place = places.of(from, key)
        if (place !== undefined) members.set(key, place)
      }
    }
  }

  try {
    // Pretty errors would quote the file, which may hold keys.
    const documents = parseAllDocuments(content, { lineCounter: lines, prettyErrors: false, logLevel: 'silent' })
    const all = Array.isArray(documents) ? documents : []
    if (all.length !== 1) throw refuse(all.length === 0 ? 'is empty' : 'holds several documents')
    const [document] = all
    const error = document?.errors[0]
    if (error !== undefined) throw refuse(`is no YAML or JSON that can be read (${error.code})`, error.pos[0])
    return convert(document?.contents, 0)
  } catch (error) {
    if (error instanceof PortcullisError) throw error
    if (error instanceof RangeError) throw refuse('is nested too deeply, or refers to itself')
    throw error
  }
}

const BOOLEAN_TAG = 'tag:yaml.org,2002:bool'
const TEXT_TAG = 'tag:yaml.org,2002:str'

/** As libyaml (Kong) and Go's yaml (deck) read YAML 1.1. */
function scalarOf({ value, source, type, tag }: Scalar): unknown {
  if (tag === TEXT_TAG) return source ?? value
  const text = source ?? value
  if (typeof text !== 'string' || (type !== Scalar.PLAIN && tag !== BOOLEAN_TAG)) return value
  if (YES.has(text)) return true
  if (NO.has(text)) return false
  if (tag === BOOLEAN_TAG) return taggedBoolean(text) ?? value
  return numberOf(text) ?? value
}

/** Kong takes more words where a tag says that they are true or false, quoted ones too. */
function taggedBoolean(text: string): boolean | undefined {
  if (/^(?:true|y)$/i.test(text)) return true
  return /^(?:false|n)$/i.test(text) ? false : undefined
}

/** Numbers that YAML 1.2 writes in another way, or not at all. */
function numberOf(text: string): number | undefined {
  const [, sign, digits = ''] = /^([-+]?)(0[0-7_]+|0b[01_]+|0x[\da-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?)$/.exec(text) ?? []
  if (sign === undefined) return undefined
  const plain = digits.replaceAll('_', '')
  const size = /^0[0-7]+$/.test(plain) ? Number.parseInt(plain, 8) : Number(plain)
  if (Number.isNaN(size)) return undefined
  return sign === '-' ? -size : size
}
