/** What a model reads from a generateContent request, in either spelling. */

import { addJson, addMedia, addText, emptyInput, type Input, TOKENS_PER_MESSAGE } from '../content.ts'
import { invalid, isObject, type JsonObject } from '../json.ts'
import type { InputContent } from '../protocol.ts'
import { bothSpellings, listOf, spelled } from './gemini.ts'

/** Members of a part that are read one by one, or by no model. */
const READ_PARTS: ReadonlySet<string> = new Set(
  bothSpellings([
    'text',
    'inlineData',
    'fileData',
    'functionCall',
    'functionResponse',
    'executableCode',
    'codeExecutionResult',
    'thought',
    'thoughtSignature',
    'videoMetadata',
    'mediaResolution',
  ]),
)
const SCHEMAS = ['responseSchema', 'responseJsonSchema']
/** Members of a config that steer, and schemas, which are read by name. */
const READ_CONFIG: ReadonlySet<string> = new Set(
  bothSpellings([
    ...SCHEMAS,
    'thinkingConfig',
    'speechConfig',
    'imageConfig',
    'routingConfig',
    'modelConfig',
    'modelSelectionConfig',
  ]),
)

/** @throws {RefusedRead} `invalid_request` when `contents` is no list of objects. */
export function readGeminiInput(body: JsonObject): InputContent {
  const contents = listOf(body.contents)
  if (contents === undefined || typeof body.contents === 'string') throw invalid('The field "contents" must be a list.')
  const input = emptyInput()
  input.tokenIds += TOKENS_PER_MESSAGE * contents.length
  for (const content of contents) {
    if (!isObject(content)) throw invalid('The field "contents" must hold objects.')
    collectContent(content, input)
  }
  collectContent(spelled(body, 'systemInstruction').value, input)
  if (spelled(body, 'cachedContent').value !== undefined) input.unseen = true
  collectTools(body.tools, input)
  const config = spelled(body, 'generationConfig').value
  if (isObject(config)) collectConfig(config, input)
  return input
}

/** Schemas, and whatever nobody knows. */
function collectConfig(config: JsonObject, input: Input): void {
  for (const schema of SCHEMAS) addJson(input, spelled(config, schema).value)
  for (const [name, value] of Object.entries(config))
    if (isObject(value) && !READ_CONFIG.has(name)) addJson(input, value)
}

/** A content object, or a text where a lenient server takes one. */
export function collectContent(content: unknown, input: Input): void {
  if (typeof content === 'string') addText(input, content)
  else if (isObject(content)) {
    for (const part of listOf(content.parts) ?? []) collectPart(part, input)
  }
}

function collectPart(part: unknown, input: Input): void {
  if (typeof part === 'string') addText(input, part)
  if (!isObject(part)) return
  addJson(input, part.text)
  const inline = spelled(part, 'inlineData').value
  if (isObject(inline)) addMedia(input, spelled(inline, 'mimeType').value)
  const file = spelled(part, 'fileData').value
  if (isObject(file)) addFile(input, spelled(file, 'mimeType').value)
  addJson(input, spelled(part, 'functionCall').value)
  collectResponse(spelled(part, 'functionResponse').value, input)
  addJson(input, spelled(part, 'executableCode').value)
  addJson(input, spelled(part, 'codeExecutionResult').value)
  for (const [name, value] of Object.entries(part)) if (!READ_PARTS.has(name)) addJson(input, value)
}

/** Media by address: an image costs what an image costs, anything else could be of any length. */
function addFile(input: Input, mimeType: unknown): void {
  const images = input.images
  addMedia(input, mimeType)
  if (input.images === images) input.unseen = true
}

function collectResponse(response: unknown, input: Input): void {
  if (!isObject(response)) return
  addJson(input, response.name)
  addJson(input, response.response)
  if (Array.isArray(response.parts)) for (const part of response.parts) collectPart(part, input)
}

/** Declared functions and computer use run at the caller's; Google's own tools add what they find to the input. */
function collectTools(tools: unknown, input: Input): void {
  for (const tool of listOf(tools) ?? []) {
    if (!isObject(tool)) continue
    for (const [name, value] of Object.entries(tool)) {
      if (name === 'functionDeclarations' || name === 'function_declarations') addJson(input, value)
      else if (name !== 'computerUse' && name !== 'computer_use') input.unseen = true
    }
  }
}
