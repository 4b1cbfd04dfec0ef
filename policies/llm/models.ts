/** What a model's name says about how it behaves. Names are guesses: every answer errs on the side that costs less. */

/** OpenAI's o-series and everything from GPT-5 on, behind any vendor prefix. */
const OPENAI_REASONING = /^(?:.*\/)?(?:o\d|gpt-(?:[5-9]|\d{2})|codex|computer-use)/i

/** Models that never reason, or only in the open where the text can be counted. */
const OPEN_ABOUT_REASONING = new RegExp(
  `^(?:.*/)?(?:${[
    'gpt-(?:3|4|oss)',
    'chatgpt-4o',
    'davinci|babbage',
    'claude-(?:instant|2|3)',
    // From Claude 5 on a request that does not mention thinking gets it.
    'claude-(?:opus|sonnet|haiku)-4',
    'gemini-(?:1|2\\.0)',
    'gemma|palm|text-',
    '(?:meta-)?llama|codellama|vicuna|alpaca|tinyllama',
    '(?:labs-|open-)?(?:mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral)',
    'qwen|qwq|deepseek|phi|yi-|glm|kimi|minimax|granite|olmo|smollm|starcoder|falcon|dbrx|jamba|nemotron|command',
  ].join('|')})`,
  'i',
)

/** Names that Mistral's own API uses; elsewhere the same models have other names. */
const MISTRAL_API =
  /^(?:labs-|open-)?(?:mistral|mixtral|ministral|magistral|codestral|devstral|pixtral|voxtral)-[\w.-]*(?:latest|nemo|\d{4}|\d+x?\d*b)$/i

/** Whether reasoning that the caller does not see cannot be ruled out. An unknown name cannot rule it out. */
export function mayHideReasoning(model: string): boolean {
  return OPENAI_REASONING.test(model) || !OPEN_ABOUT_REASONING.test(model)
}

/** Whether the model refuses `max_tokens` and wants `max_completion_tokens`. */
export function wantsMaxCompletionTokens(model: string): boolean {
  return OPENAI_REASONING.test(model)
}

/** Mistral's API answers 422 to `stream_options`, and reports a stream's usage unasked. */
export function refusesStreamOptions(model: string): boolean {
  return MISTRAL_API.test(model)
}
