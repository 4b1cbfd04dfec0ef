/** What this policy needs to know of LLM APIs, so that tests can bring their own. */

import type { EncodingName, Tokenizer } from '../llm/estimate.ts'
import type { JsonBody } from '../llm/json.ts'
import type { ExtraOperation } from '../llm/operations.ts'
import type { Operation } from '../llm/protocol.ts'
import type { Delivered } from '../llm/usage.ts'

export interface LlmToolkit {
  /** @throws {RefusedRead} `invalid_request` when the path can be understood in two ways. */
  recognise(method: string, path: string, extra: readonly ExtraOperation[]): Operation | undefined
  /** @throws {RefusedRead} `invalid_request`. */
  parseBody(bytes: Uint8Array): JsonBody
  /** Tokens of the texts by characters and script, uncorrected. */
  estimateTokens(texts: readonly string[]): number
  /** The encoding that comes nearest to a model's own. */
  encodingOf(model: string): EncodingName
  /** @throws {PortcullisError} `tokenizer_missing`. */
  loadTokenizer(encoding: EncodingName): Promise<Tokenizer>
  estimateDelivered(delivered: Delivered): number
  /** Moves a ratio of real to estimated tokens towards what was just seen. */
  correctRatio(ratio: number | undefined, estimated: number, actual: number): number
}
