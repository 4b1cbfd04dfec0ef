/** The policy `llm-token-limit` for the APIs this pack knows. */

import { correctRatio, encodingOf, estimateDelivered, estimateTokens, loadTokenizer } from '../llm/estimate.ts'
import { parseJsonBody } from '../llm/json.ts'
import { recognise } from '../llm/operations.ts'
import { revocable } from '../revocation/revocable.ts'
import { createTokenLimit } from './policy.ts'

export const tokenLimit = revocable(
  createTokenLimit({
    recognise,
    parseBody: parseJsonBody,
    estimateTokens,
    encodingOf,
    loadTokenizer: (encoding) => loadTokenizer(encoding),
    estimateDelivered,
    correctRatio,
  }),
)

export type { RuleConfig, TokenLimitConfig } from './config.ts'
export type { TokenLimitPolicy } from './policy.ts'
