/** Every protocol. A new one is one file beside this, and one line here. */

import { PortcullisError } from '../../errors.ts'
import type { Protocol } from '../protocol.ts'
import { anthropicMessages } from './anthropic-messages.ts'
import { geminiEmbeddings } from './gemini-embeddings.ts'
import { geminiGenerate } from './gemini-generate.ts'
import { openAiChat } from './openai-chat.ts'
import { openAiCompletions } from './openai-completions.ts'
import { openAiEmbeddings } from './openai-embeddings.ts'
import { openAiResponses } from './openai-responses.ts'

export const PROTOCOLS: readonly Protocol[] = [
  openAiChat,
  openAiResponses,
  openAiEmbeddings,
  openAiCompletions,
  anthropicMessages,
  geminiGenerate,
  geminiEmbeddings,
]

/** Ids for config fields, in the order of {@link PROTOCOLS}. */
export const PROTOCOL_IDS: readonly string[] = PROTOCOLS.map((protocol) => protocol.id)

const BY_ID = new Map(PROTOCOLS.map((protocol) => [protocol.id, protocol]))

export function protocolById(id: string): Protocol | undefined {
  return BY_ID.get(id)
}

/** @throws {PortcullisError} `unknown_protocol`. */
export function requireProtocol(id: string): Protocol {
  const protocol = BY_ID.get(id)
  if (protocol === undefined) throw new PortcullisError('unknown_protocol', 'No protocol has this id.')
  return protocol
}
