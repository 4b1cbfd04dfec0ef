/** Short texts that a client chooses, such as a model's name, made harmless before they are written down. */

import type { Redactor } from '../redaction/index.ts'
import { globMatches } from '../token-limit/match.ts'

/** What names of models begin with, behind a vendor's prefix or none. */
const FAMILIES = new RegExp(
  `^(?:[a-z0-9-]{1,32}[/.]){0,3}(?:${[
    'gpt-|chatgpt-|o[1-9](?:-|$)|codex|computer-use|text-|tts-|whisper|dall-e|omni-|davinci|babbage|sora',
    'claude-|gemini-|gemma|palm|imagen|veo|aqa|learnlm',
    '(?:meta-)?llama|codellama|tinyllama|vicuna|alpaca',
    '(?:labs-|open-)?(?:mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral)',
    'qwen|qwq|deepseek|phi-?\\d|yi-|glm|kimi|minimax|granite|olmo|smollm|starcoder|falcon|dbrx|jamba|nemotron|command|grok',
    'sonar|nova-|titan|nomic|bge-|e5-|embed|rerank|jina|voyage|stablelm|bloom',
  ].join('|')})`,
  'i',
)
const SHAPE = /^[\w.:/@+-]{1,100}$/
/** Longer than any version, date or size in a model's name. */
const LONG_RUN = /[A-Za-z0-9]{17,}/
/** What a version, a date or a vendor's prefix may look like: `gpt-4o-2024-08-06`, `us.anthropic.claude-…`. */
const IN_MODEL_NAMES = ['DATE', 'URL']
const ID_SHAPE = /^[\w.:-]{1,128}$/

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
  const isKnown = (name: string): boolean =>
    globs.some((glob) => globMatches(glob, name)) || (FAMILIES.test(name) && !LONG_RUN.test(name))
  return {
    model: (name) =>
      SHAPE.test(name) && isKnown(name) && isClean(name, IN_MODEL_NAMES)
        ? name
        : redactor.tagger({ now: now() })('MODEL', name),
    id(text) {
      if (text === undefined) return undefined
      return ID_SHAPE.test(text) && isClean(text) ? text : redactor.tagger({ now: now() })('ID', text)
    },
  }
}
