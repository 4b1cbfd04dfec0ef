/** Short texts that a client chooses, such as a model's name, made harmless before they are written down. */

import { isFamiliarModel, MODEL_SHAPE } from '../llm/model-names.ts'
import type { Redactor } from '../redaction/index.ts'
import { rememberingWords } from '../redaction/words.ts'
import { globMatches } from '../token-limit/match.ts'

/** What a version, a date or a vendor's prefix may look like: `gpt-4o-2024-08-06`, `us.anthropic.claude-…`. */
const IN_MODEL_NAMES = ['DATE', 'URL']
const ID_SHAPE = /^[\w.:-]{1,128}$/
/** What random text is taken for when it stands alone; but random is what an id should be. */
const IN_IDS = ['SECRET']

/**
 * An id as nginx makes them, of which the built-in detectors make nothing: what has both digits and letters and is that
 * long is no number, and no token is as long and has only these characters. What may be a crypto address is left out.
 */
const RANDOM_ID = /^(?!bc1|[139][1-9a-f]*$)(?=[0-9]*[a-f])[0-9a-f]{32}$/

export interface Labeller {
  /** A model's name when it looks like one, else a placeholder. */
  model(name: string): string
  /** A request's id when it looks like one, else a placeholder. */
  id(text: string | undefined): string | undefined
}

export interface LabelOptions {
  /** Names of models that the operator vouches for. */
  readonly models: readonly string[]
  /** Whether the redactor has patterns of the operator's own. */
  readonly custom: boolean
  /** Epoch milliseconds. */
  now(): number
}

export function createLabeller(redactor: Redactor, { models, custom, now }: LabelOptions): Labeller {
  const isClean = (text: string, harmless: readonly string[] = []): boolean =>
    redactor.find(text).every(({ type }) => harmless.includes(type))
  const isKnown = (name: string): boolean => models.some((glob) => globMatches(glob, name)) || isFamiliarModel(name)
  const isModel = rememberingWords((name) => MODEL_SHAPE.test(name) && isKnown(name) && isClean(name, IN_MODEL_NAMES))
  const isId = (text: string): boolean =>
    (!custom && RANDOM_ID.test(text)) ||
    (ID_SHAPE.test(text) && isClean(text, IN_IDS) && isClean(`The request ${text} has ended.`))
  return {
    model: (name) => (isModel(name) ? name : redactor.tagger({ now: now() })('MODEL', name)),
    id(text) {
      if (text === undefined) return undefined
      return isId(text) ? text : redactor.tagger({ now: now() })('ID', text)
    },
  }
}
