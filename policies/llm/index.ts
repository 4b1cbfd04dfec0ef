/** What the pack knows of LLM APIs: protocols, operations, usage, and estimates of tokens. */

export {
  correctRatio,
  type EncodingName,
  encodingOf,
  estimateDelivered,
  estimateTokens,
  loadTokenizer,
  type Tokenizer,
} from './estimate.ts'
export { type JsonMember, parseJsonBody } from './json.ts'
export { type ExtraOperation, recognise } from './operations.ts'
export type * from './protocol.ts'
export { PROTOCOLS, requireProtocol } from './protocols/index.ts'
export type { TapPlan } from './tap.ts'
export { type Delivered, mergeUsage, type Usage } from './usage.ts'
