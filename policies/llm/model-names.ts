/** Names of models as providers give them. A client may write anything where one belongs, a secret or a prompt included. */

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
export const MODEL_SHAPE = /^[\w.:/@+-]{1,100}$/
/** Longer than any version, date or size in a model's name. */
const LONG_RUN = /[A-Za-z0-9]{17,}|\d{9,}/
/** More than versions, a size and a date come to, and as many as a payment card has. */
const MANY_DIGITS = /(?:\d\D*){13}/

/** Whether a name begins as those of a well-known family do, and holds no run of characters in which a secret could hide. */
export function isFamiliarModel(name: string): boolean {
  return FAMILIES.test(name) && !LONG_RUN.test(name) && !MANY_DIGITS.test(name)
}

const LONGEST_LABEL = 64

/** The name where it can do no harm in a log or a label, else `other`. */
export function modelLabel(name: string): string {
  return name.length <= LONGEST_LABEL && MODEL_SHAPE.test(name) && !name.includes('@') && isFamiliarModel(name)
    ? name
    : 'other'
}
