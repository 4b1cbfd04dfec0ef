/** What a request will cost, before anybody knows. */

import type { Tokenizer } from '../llm/estimate.ts'
import type { LlmCall } from '../llm/protocol.ts'
import type { Deps } from '../policy.ts'
import type { TokenLimitConfig } from './config.ts'
import { expectedOutput } from './expected-output.ts'
import type { Learned } from './learned.ts'
import type { LlmToolkit } from './toolkit.ts'

export interface Estimate {
  readonly input: number
  /** Output this caller and model usually produce, all candidates together. */
  readonly output: number
  /** Tokens of the texts alone, uncorrected. */
  readonly texts: number
}

export const NO_TOKENS: Estimate = { input: 0, output: 0, texts: 0 }

/** Tokens of the texts that `model` will read. */
export type CountTexts = (texts: readonly string[], model: string) => number | Promise<number>

/** How this config counts texts; loads the tokenizer ahead of the first request. */
export function createCounter(config: TokenLimitConfig, deps: Deps, llm: LlmToolkit): CountTexts {
  if (config.tokenizer === 'estimate') return (texts) => llm.estimateTokens(texts)
  const load = (model: string) => {
    const encoding = llm.encodingOf(model)
    return deps.runtime.share<Promise<Tokenizer>>('token-limit.tokenizer', encoding, () => llm.loadTokenizer(encoding))
  }
  // A missing package is worth a line at the start, not only at the first refused request.
  load('').catch(() => deps.logger.error('gpt-tokenizer cannot be loaded', { code: 'tokenizer_missing' }))
  return async (texts, model) => (await load(model)).count(texts)
}

export async function estimateCall(
  call: LlmCall,
  learned: Learned | undefined,
  config: TokenLimitConfig,
  countTexts: CountTexts,
): Promise<Estimate> {
  const { input, candidates, generates, model } = call
  const counted = countTexts(input.texts, model)
  const texts = typeof counted === 'number' ? counted : await counted
  const flat = input.images * config.image_tokens + input.audio * config.audio_tokens + input.files * config.file_tokens
  const unseen = input.unseen ? Math.max(config.unseen_input_tokens, learned?.lastInput ?? 0) : 0
  return {
    input: Math.ceil(texts * (learned?.inputRatio ?? 1)) + input.tokenIds + flat + unseen,
    output: generates ? expectedOutput(learned?.output, config.default_output_tokens) * candidates : 0,
    texts,
  }
}
