/**
 * What a caller may do, in words: `llm:<operation>[:read][:<model glob>]`. See README.md of this folder.
 */

import type { OperationName } from '../llm/protocol.ts'
import { globMatches } from '../token-limit/match.ts'

export const OPERATIONS = [
  'chat',
  'responses',
  'embeddings',
  'images',
  'audio',
  'moderations',
  'files',
  'batches',
  'fine_tuning',
  'models',
] as const satisfies readonly OperationName[]

export interface Grant {
  readonly operation: OperationName | '*'
  /** Only calls without side effects. */
  readonly readOnly: boolean
  /** Absent: any model, also one that nobody can name. */
  readonly models?: string
}

/** What a request needs. */
export interface Need {
  readonly operation: OperationName
  readonly read: boolean
}

/** Stands for a model that the request does not name. */
export const UNKNOWN_MODEL = ''

/** Longest grant worth reading, in characters. */
const MAX_LENGTH = 300
/** What RFC 6749 allows in a scope. */
const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+$/

/**
 * Names that stand for more than themselves: routers part lists of models at commas, and whoever puts a name into a URL
 * loses what is behind `?` or `#` and what dot segments cancel.
 */
const DIVISIBLE = /[,;?#%\\]|(?:^|\/)\.{1,2}(?:\/|$)/

const NAMES: ReadonlySet<string> = new Set(OPERATIONS)

/** Undefined when the text is no grant. */
export function parseGrant(text: string): Grant | undefined {
  if (text.length > MAX_LENGTH || !text.startsWith('llm:') || !SCOPE.test(text)) return undefined
  const [, name = '', ...rest] = text.split(':')
  if (name === 'read') return rest.length === 0 ? { operation: '*', readOnly: true } : undefined
  if (name !== '*' && !NAMES.has(name)) return undefined
  const operation = name as Grant['operation']
  const readOnly = rest[0] === 'read'
  // A model's own name may hold colons: ft:gpt-4o-mini:acme::abc.
  const models = rest.slice(readOnly ? 1 : 0).join(':')
  if (models === '') return rest.length > (readOnly ? 1 : 0) ? undefined : { operation, readOnly }
  return /^\*+$/.test(models) ? { operation, readOnly } : { operation, readOnly, models }
}

/** What grants say before any model is known. `by-model`: it depends on the models. */
export type Standing =
  | { readonly type: 'allowed' }
  | { readonly type: 'denied' }
  | { readonly type: 'by-model'; readonly globs: readonly string[] }

export function standing(grants: readonly Grant[], need: Need): Standing {
  const globs: string[] = []
  for (const { operation, readOnly, models } of grants) {
    if ((operation !== '*' && operation !== need.operation) || (readOnly && !need.read)) continue
    if (models === undefined) return { type: 'allowed' }
    globs.push(models)
  }
  return globs.length === 0 ? { type: 'denied' } : { type: 'by-model', globs }
}

/**
 * The first model that no glob covers. Names count as they are written: to some upstreams case matters.
 * One that an upstream could take apart must be written out in a grant.
 */
export function firstUncovered(globs: readonly string[], models: readonly string[]): string | undefined {
  if (models.length === 0) return UNKNOWN_MODEL
  return models.find((model) => model === UNKNOWN_MODEL || !globs.some((glob) => covers(glob, model)))
}

function covers(glob: string, model: string): boolean {
  return glob === model || (!isDivisible(model) && globMatches(glob, model))
}

/** Whether a router or a URL could make another model of the name than the one it seems to be. */
export function isDivisible(model: string): boolean {
  return DIVISIBLE.test(model)
}

/** The least grant that would do; without a model that cannot be written as one. */
export function missingScope(need: Need, model: string = UNKNOWN_MODEL): string {
  const scope = `llm:${need.operation}${need.read ? ':read' : ''}`
  return model !== UNKNOWN_MODEL && SCOPE.test(model) ? `${scope}:${model}` : scope
}
