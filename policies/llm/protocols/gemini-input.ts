/** What a model reads from a generateContent request, in either spelling. */

import { addJson, addMedia, addText, emptyInput, type Input, TOKENS_PER_MESSAGE } from '../content.ts'
import { invalid, isObject, type JsonObject } from '../json.ts'
import type { InputContent } from '../protocol.ts'
import { spelled } from './gemini.ts'

/** @throws {RefusedRead} `invalid_request` when `contents` is no list of objects. */
export function readGeminiInput(body: JsonObject): InputContent {
  const { contents } = body
  if (!Array.isArray(contents)) throw invalid('The field "contents" must be a list.')
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
  if (isObject(config))
    for (const schema of ['responseSchema', 'responseJsonSchema']) addJson(input, spelled(config, schema).value)
  return input
}

/** A content object, or a text where a lenient server takes one. */
export function collectContent(content: unknown, input: Input): void {
  if (typeof content === 'string') addText(input, content)
  else if (isObject(content)) {
    const parts = Array.isArray(content.parts) ? content.parts : [content.parts]
    for (const part of parts) collectPart(part, input)
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
  for (const tool of Array.isArray(tools) ? tools : []) {
    if (!isObject(tool)) continue
    for (const [name, value] of Object.entries(tool)) {
      if (name === 'functionDeclarations' || name === 'function_declarations') addJson(input, value)
      else if (name !== 'computerUse' && name !== 'computer_use') input.unseen = true
    }
  }
}
