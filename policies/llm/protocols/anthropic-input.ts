/** What a model reads from a Messages request. */

import {
  addEncrypted,
  addJson,
  addText,
  collect,
  collectMembers,
  emptyInput,
  type Input,
  mediaPart,
  type PartRule,
  TOKENS_PER_MESSAGE,
} from '../content.ts'
import { invalid, isObject, type JsonObject } from '../json.ts'
import type { InputContent } from '../protocol.ts'

const STEERING = new Set([
  'model',
  'metadata',
  'stop_sequences',
  'service_tier',
  'inference_geo',
  'speed',
  'thinking',
  'tool_choice',
  'cache_control',
  'diagnostics',
  'fallbacks',
  'fallback_credit_token',
  'billing_policy',
  'betas',
  'anthropic_version',
  'user_profile_id',
  'workspace_id',
])

/** Members that are read one by one below. */
const READ = new Set([
  'messages',
  'system',
  'tools',
  'output_config',
  'output_format',
  'container',
  'mcp_servers',
  'thread',
])

/** Tools that run where the caller is; `custom` and none at all are the caller's own definitions. */
const CALLER_TOOL = /^(?:custom$|bash_|text_editor_|computer_|memory_|browser_)/

const document: PartRule = (part, input, rules) => {
  const source = isObject(part.source) ? part.source : {}
  if (source.type === 'text') addJson(input, source.data)
  else if (source.type === 'content') collect(source.content, input, rules)
  else {
    input.files++
    if (source.type !== 'base64') input.unseen = true
  }
  addJson(input, part.title)
  addJson(input, part.context)
}

const toolUse: PartRule = (part, input) => {
  addJson(input, part.name)
  addJson(input, part.input)
}

const ANTHROPIC_PARTS: ReadonlyMap<string, PartRule> = new Map<string, PartRule>([
  ['image', mediaPart('images')],
  ['document', document],
  ['redacted_thinking', (part, input) => addEncrypted(input, part.data)],
  ['tool_use', toolUse],
  ['server_tool_use', toolUse],
  ['mcp_tool_use', toolUse],
  [
    'container_upload',
    (_, input) => {
      input.files++
      input.unseen = true
    },
  ],
])

/** @throws {RefusedRead} `invalid_request` when `messages` is no list of objects. */
export function readAnthropicInput(body: JsonObject): InputContent {
  const { messages, output_config: config, mcp_servers: servers } = body
  if (!Array.isArray(messages)) throw invalid('The field "messages" must be a list.')
  const input = emptyInput()
  input.tokenIds += TOKENS_PER_MESSAGE * messages.length
  messages.forEach((message, index) => {
    if (!isObject(message)) throw invalid(`The field "messages[${index}]" must be an object.`)
    collectMembers(message, input, ANTHROPIC_PARTS)
  })
  collect(body.system, input, ANTHROPIC_PARTS)
  collectTools(body.tools, input)
  addJson(input, isObject(config) ? config.format : undefined)
  addJson(input, body.output_format)
  if (Array.isArray(servers) && servers.length > 0) input.unseen = true
  for (const field of ['container', 'thread'])
    if (body[field] !== undefined && body[field] !== null) input.unseen = true
  for (const [key, member] of Object.entries(body))
    if (!STEERING.has(key) && !READ.has(key)) collectMembers({ [key]: member }, input, ANTHROPIC_PARTS)
  return input
}

function collectTools(tools: unknown, input: Input): void {
  for (const tool of Array.isArray(tools) ? tools : []) {
    if (!isObject(tool)) continue
    if (typeof tool.type === 'string' && !CALLER_TOOL.test(tool.type)) input.unseen = true
    const { cache_control: _cache, type: _type, ...definition } = tool
    addText(input, JSON.stringify(definition))
  }
}
