/** What a model reads from OpenAI's requests: content parts, tools, and every member that nobody knows. */

import {
  addEncrypted,
  addJson,
  addText,
  collect,
  collectMembers,
  type Input,
  mediaPart,
  type PartRule,
} from '../content.ts'
import { isObject, type JsonObject } from '../json.ts'

/** Top-level members that steer a request. Whatever else is there may be read by the model, so it counts. */
const STEERING = new Set([
  'model',
  'models',
  'user',
  'metadata',
  'stop',
  'service_tier',
  'reasoning_effort',
  'reasoning',
  'verbosity',
  'modalities',
  'audio',
  'prompt_cache_key',
  'prompt_cache_retention',
  'prompt_cache_options',
  'safety_identifier',
  'provider',
  'route',
  'transforms',
  'encoding_format',
  'include',
  'truncation',
  'background',
  'logit_bias',
  'stream_options',
])

/** Members that the protocols read by themselves. */
const READ = new Set([
  'tools',
  'functions',
  'response_format',
  'text',
  'web_search_options',
  'plugins',
  'tool_choice',
  'function_call',
])

/** Tools that run where the caller is: their results come back in the next request's body. Others add unseen input. */
const CALLER_TOOLS = new Set([
  'function',
  'custom',
  'namespace',
  'local_shell',
  'apply_patch',
  'computer',
  'computer_use',
  'computer_use_preview',
])

const file: PartRule = (part, input) => {
  const source = isObject(part.file) ? part.file : part
  input.files++
  if (typeof source.file_data !== 'string') input.unseen = true
  if (typeof part.text === 'string') addText(input, part.text)
}

const toolCall: PartRule = (part, input) => {
  addJson(input, part.name)
  for (const given of [part.arguments, part.input, part.action, part.operation]) addJson(input, given)
}

const toolOutput: PartRule = (part, input, rules) => collect(part.output, input, rules)

const reference: PartRule = (_, input) => {
  input.unseen = true
}

/** By the `type` of a chat content part or of a Responses item; others count by their strings. */
export const OPENAI_PARTS: ReadonlyMap<string, PartRule> = new Map([
  ['image_url', mediaPart('images')],
  ['input_image', mediaPart('images')],
  ['image', mediaPart('images')],
  ['image_generation_call', mediaPart('images')],
  ['computer_screenshot', mediaPart('images')],
  ['input_audio', mediaPart('audio')],
  ['audio_url', mediaPart('audio')],
  ['video_url', mediaPart('files')],
  ['file', file],
  ['input_file', file],
  ['function_call', toolCall],
  ['custom_tool_call', toolCall],
  ['function_call_output', toolOutput],
  ['custom_tool_call_output', toolOutput],
  ['computer_call_output', toolOutput],
  ['item_reference', reference],
  ['compaction', (part, input) => addEncrypted(input, part.encrypted_content)],
])

/** A chat message: its content, calls and name. */
export function collectMessage(message: JsonObject, input: Input): void {
  collect(message.content, input, OPENAI_PARTS)
  if (isObject(message.audio)) input.audio++
  if (Array.isArray(message.tool_calls)) for (const call of message.tool_calls) addJson(input, functionOf(call))
  addJson(input, message.function_call)
  const { content: _content, audio: _audio, tool_calls: _calls, function_call: _call, ...rest } = message
  collectMembers(rest, input, OPENAI_PARTS)
}

/** Tools, schemas and unknown members. `read` names what the caller of this function has collected itself. */
export function collectSurroundings(body: JsonObject, input: Input, read: readonly string[]): void {
  for (const tool of Array.isArray(body.tools) ? body.tools : []) {
    if (isObject(tool) && typeof tool.type === 'string' && !CALLER_TOOLS.has(tool.type)) input.unseen = true
    addJson(input, tool)
  }
  addJson(input, body.functions)
  for (const format of [body.response_format, isObject(body.text) ? body.text.format : body.text])
    if (typeof format === 'string' || (isObject(format) && format.type !== 'text')) addJson(input, format)
  if (isObject(body.web_search_options) || (Array.isArray(body.plugins) && body.plugins.length > 0)) input.unseen = true
  for (const [key, member] of Object.entries(body))
    if (!STEERING.has(key) && !READ.has(key) && !read.includes(key))
      collectMembers({ [key]: member }, input, OPENAI_PARTS)
}

function functionOf(call: unknown): unknown {
  if (!isObject(call) || (isObject(call.function) && isObject(call.custom))) return call
  return call.function ?? call.custom ?? call
}
