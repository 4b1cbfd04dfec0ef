/** Short texts that a client chooses, such as a model's name, made harmless before they are written down. */

import { isFamiliarModel, MODEL_SHAPE } from '../llm/model-names.ts'
import type { Redactor } from '../redaction/index.ts'
import { rememberingWords } from '../redaction/words.ts'
import { globMatches } from '../token-limit/match.ts'

/** What a version, a date or a vendor's prefix may look like: `gpt-4o-2024-08-06`, `us.anthropic.claude-…`. */
const IN_MODEL_NAMES = ['DATE', 'URL']
/** The day of a version, unless digits follow as in many a national number. */
const DAY =
  /(?<!\d)20[0-4]\d(?:-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?!\d|-\d{3})/
/** What sizes and versions may look like: `oss-120b`. */
const LIKE_A_SIZE = /PLATE$|POSTCODE$/
/** Of a name; each costs two searches. */
const MOST_PARTS = 16
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
  const isVouchedFor = (name: string): boolean => models.some((glob) => globMatches(glob, name))
  /** Anybody can write more behind a family's name: what follows each joint is looked at as if it stood alone. */
  const isOnlyFamiliar = (name: string): boolean => {
    if (!isFamiliarModel(name)) return false
    const parts = partsOf(name.replace(DAY, 'day'))
    const isHarmless = (text: string): boolean =>
      redactor.find(text).every(({ type }) => IN_MODEL_NAMES.includes(type) || LIKE_A_SIZE.test(type))
    return parts.length <= MOST_PARTS && parts.every((part) => isHarmless(part) && isHarmless(`It was ${part} again.`))
  }
  const isModel = rememberingWords(
    (name) => MODEL_SHAPE.test(name) && isClean(name, IN_MODEL_NAMES) && (isVouchedFor(name) || isOnlyFamiliar(name)),
  )
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

/** The name, and what of it follows each joint. */
function partsOf(name: string): string[] {
  const parts = [name]
  for (let at = 1; at < name.length; at++) if (/[^A-Za-z0-9]/.test(name[at - 1] ?? '')) parts.push(name.slice(at))
  return parts
}
