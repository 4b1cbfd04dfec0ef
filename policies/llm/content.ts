/** Collects what a model will read from a request, whatever shape an API gives it. */

import { isObject, type JsonObject } from './json.ts'
import type { InputContent } from './protocol.ts'

/** An {@link InputContent} that is still being filled. */
export type Input = { -readonly [K in keyof InputContent]: InputContent[K] } & { texts: string[] }

/** How one kind of content part counts; whatever it does not count is not input. */
export type PartRule = (part: JsonObject, input: Input, rules: PartRules) => void
export type PartRules = ReadonlyMap<string, PartRule>

/** About what chat templates put around each message: role and separators (OpenAI's cookbook counts 3 and the role). */
export const TOKENS_PER_MESSAGE = 4

/** Base64 of encrypted text holds 3/4 byte a character; a token is about 4 bytes. */
const ENCRYPTED_CHARACTERS_PER_TOKEN = 6

/** Members that label a part. Some servers' chat templates print them, so a long one counts as text. */
const LABELS = new Set(['type', 'id', 'role', 'status', 'call_id', 'tool_call_id', 'tool_use_id'])
const LONGEST_LABEL = 64

/** Members that no model reads. */
const OPAQUE = new Set(['cache_control', 'signature', 'thoughtSignature', 'thought_signature'])

/** Members that hold media in parts of unknown kind. A data URL elsewhere is text: it is read as such. */
const MEDIA = new Set(['url', 'data', 'image_url', 'audio_url', 'video_url', 'file_data', 'b64_json'])

export function emptyInput(): Input {
  return { texts: [], images: 0, audio: 0, files: 0, tokenIds: 0, unseen: false }
}

/** Counts every string in `value` as text, except where a rule for a part's `type` says otherwise. */
export function collect(value: unknown, input: Input, rules: PartRules): void {
  if (typeof value === 'string') addText(input, value)
  else if (Array.isArray(value)) for (const item of value) collect(item, input, rules)
  else if (isObject(value)) {
    const rule = typeof value.type === 'string' ? rules.get(value.type) : undefined
    if (rule !== undefined) rule(value, input, rules)
    else collectMembers(value, input, rules)
  }
}

/** Counts an object's members as text, labels and opaque values left out. */
export function collectMembers(object: JsonObject, input: Input, rules: PartRules): void {
  for (const [key, member] of Object.entries(object)) {
    if (OPAQUE.has(key) || isLabel(key, member)) continue
    if (key === 'encrypted_content' || key === 'encryptedContent') addEncrypted(input, member)
    else if (MEDIA.has(key) && typeof member === 'string' && isDataUrl(member)) input.files++
    else collect(member, input, rules)
  }
}

function isLabel(key: string, member: unknown): boolean {
  return LABELS.has(key) && !(typeof member === 'string' && member.length > LONGEST_LABEL)
}

export function addText(input: Input, text: string): void {
  if (text.length > 0) input.texts.push(text)
}

/** Tool definitions, schemas and arguments reach the model as some rendering of their JSON. */
export function addJson(input: Input, value: unknown): void {
  if (value !== undefined && value !== null) addText(input, typeof value === 'string' ? value : JSON.stringify(value))
}

/** Reasoning that only the provider can read, sent back to it. */
export function addEncrypted(input: Input, value: unknown): void {
  if (typeof value === 'string') input.tokenIds += Math.ceil(value.length / ENCRYPTED_CHARACTERS_PER_TOKEN)
}

function isDataUrl(text: string): boolean {
  return /^data:[a-z0-9.+/-]*[;,]/i.test(text)
}

/** A part that is one image, one audio clip or one file; text beside it counts as text. */
export function mediaPart(kind: 'images' | 'audio' | 'files'): PartRule {
  return (part, input) => {
    input[kind]++
    if (typeof part.text === 'string') addText(input, part.text)
  }
}

/** By MIME type: images and audio have their own flat costs, everything else is a file. */
export function addMedia(input: Input, mimeType: unknown): void {
  const kind = typeof mimeType === 'string' ? mimeType.toLowerCase().split('/')[0] : undefined
  if (kind === 'image') input.images++
  else if (kind === 'audio') input.audio++
  else input.files++
}
