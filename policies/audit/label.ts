/** Short texts that a client chooses, such as a model's name, made harmless before they are written down. */

import { isFamiliarModel, MODEL_SHAPE } from '../llm/model-names.ts'
import type { Redactor } from '../redaction/index.ts'
import { globMatches } from '../token-limit/match.ts'

/** What a version, a date or a vendor's prefix may look like: `gpt-4o-2024-08-06`, `us.anthropic.claude-…`. */
const IN_MODEL_NAMES = ['DATE', 'URL']
const ID_SHAPE = /^[\w.:-]{1,128}$/
/** What random text is taken for when it stands alone; but random is what an id should be. */
const IN_IDS = ['SECRET']

export interface Labeller {
  /** A model's name when it looks like one, else a placeholder. */
  model(name: string): string
  /** A request's id when it looks like one, else a placeholder. */
  id(text: string | undefined): string | undefined
}

/** @param globs names of models that the operator vouches for. */
export function createLabeller(redactor: Redactor, globs: readonly string[], now: () => number): Labeller {
  const isClean = (text: string, harmless: readonly string[] = []): boolean =>
    redactor.find(text).every(({ type }) => harmless.includes(type))
  const isKnown = (name: string): boolean => globs.some((glob) => globMatches(glob, name)) || isFamiliarModel(name)
  return {
    model: (name) =>
      MODEL_SHAPE.test(name) && isKnown(name) && isClean(name, IN_MODEL_NAMES)
        ? name
        : redactor.tagger({ now: now() })('MODEL', name),
    id(text) {
      if (text === undefined) return undefined
      return ID_SHAPE.test(text) && isClean(text, IN_IDS) && isClean(`The request ${text} has ended.`)
        ? text
        : redactor.tagger({ now: now() })('ID', text)
    },
  }
}
