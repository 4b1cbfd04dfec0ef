/** Paths of LLM APIs, matched exactly and whole: a suffix match can be fooled. */

import { invalid } from './json.ts'

/** What a pattern's `{name}` placeholders held. */
export type PathParts = Readonly<Record<string, string>>

export interface PathTable<T> {
  /** The entry of the first pattern that matches, literal ones before those with placeholders. */
  find(method: string, path: string): { readonly entry: T; readonly parts: PathParts } | undefined
}

export interface PathEntry<T> {
  readonly method: string
  /**
   * Literal text with `{name}` for one or more of `A-Z a-z 0-9 . _ ~ @ + = , -`, starting with a letter or digit;
   * `{id}` may hold colons as well, which elsewhere part a name from a verb.
   */
  readonly path: string
  readonly entry: T
}

/** Headers from which some frameworks take another method or path than the one that was judged. */
export const OVERRIDE_HEADERS = [
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-url',
  'x-rewrite-url',
] as const

/**
 * Parameters of the query, in lower case, from which a server takes a method, headers or a content type: `_method` some
 * frameworks, the others Google's front ends, for browsers that would otherwise ask first.
 * @see https://github.com/whatwg/fetch/issues/210#issue-129531743
 */
const OVERRIDE_PARAMETERS: ReadonlySet<string> = new Set(['_method', '$httpmethod', '$httpheaders', '$ct'])

/** Whether a query makes another request of this one. */
export function overridesByQuery(names: readonly string[]): boolean {
  return names.some((name) => OVERRIDE_PARAMETERS.has(name.toLowerCase()))
}

/** No path of an API comes near it. */
const MAX_PATH = 4096
const PLACEHOLDER = /\{([a-z]+)\}/g
const NAME = '([A-Za-z0-9][A-Za-z0-9._~@+=,-]*)'
const ID = '([A-Za-z0-9][A-Za-z0-9._~@+=,:-]*)'

/**
 * Refuses a path that two readers could understand differently.
 * @throws {RefusedRead} `invalid_request`.
 */
export function assertPlainPath(path: string): void {
  if (path.length > MAX_PATH) throw invalid('The path is too long.')
  if (!path.startsWith('/')) throw invalid('The path does not start with a slash.')
  // Encoded: slash, backslash, percent, semicolon, dot, question mark, hash and control characters.
  if (/%(?:2f|5c|25|3b|2e|3f|23|[01][0-9a-f]|7f)/i.test(path) || /%(?![0-9a-f]{2})/i.test(path))
    throw invalid('The path has an encoded separator or control character.')
  if (/[^\x21-\x7e]|[;\\?#]/.test(path)) throw invalid('The path has a character that does not belong there.')
  if (path.includes('//') || /\/\.{1,2}(?:\/|$)/.test(path)) throw invalid('The path has an empty or dot segment.')
}

export function pathTable<T>(entries: readonly PathEntry<T>[]): PathTable<T> {
  const literal = new Map<string, T>()
  const patterns: { readonly method: string; readonly pattern: RegExp; readonly names: string[]; readonly entry: T }[] =
    []
  for (const { method, path, entry } of entries) {
    const names = [...path.matchAll(PLACEHOLDER)].map((match) => match[1] as string)
    if (names.length === 0) literal.set(`${method} ${path}`, entry)
    else patterns.push({ method, pattern: compile(path), names, entry })
  }
  return {
    find(method, path) {
      const entry = literal.get(`${method} ${path}`)
      if (entry !== undefined) return { entry, parts: {} }
      for (const candidate of patterns) {
        if (candidate.method !== method) continue
        const match = candidate.pattern.exec(path)
        if (match === null) continue
        const parts = Object.fromEntries(candidate.names.map((name, index) => [name, match[index + 1] as string]))
        return { entry: candidate.entry, parts }
      }
      return undefined
    },
  }
}

function compile(path: string): RegExp {
  const pieces = path.split(PLACEHOLDER).map((piece, index) => {
    if (index % 2 === 0) return escapePattern(piece)
    return piece === 'id' ? ID : NAME
  })
  return new RegExp(`^${pieces.join('')}$`)
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
