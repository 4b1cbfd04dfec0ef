/** Redaction of parsed request and reply bodies: chat messages, tools, system prompts, content blocks, parts. */

import type { Finding } from './finding.ts'
import type { CallOptions, RedactOptions, Redactor } from './redactor.ts'
import { redactorOf, replace } from './redactor.ts'
import { rememberingTexts } from './texts.ts'
import { rememberingWords } from './words.ts'

/** A finding and the JSON pointer of the string that held it, with object keys as they are after redaction. */
export interface BodyFinding extends Finding {
  readonly path: string
}

export interface BodyRedaction {
  /** A copy with the same structure. */
  readonly body: unknown
  readonly findings: readonly BodyFinding[]
}

const MAX_DEPTH = 64
const LONGEST_FIELD = 400
const SHORTEST_DATA = 512

/** Members whose values are words of the protocols when they are short and plain; everything else is content. */
const STRUCTURE = new Set(
  'model role type object finish_reason stop_reason finishReason media_type mimeType mime_type format detail service_tier effort verbosity modality tool_choice status'.split(
    ' ',
  ),
)
const PLAIN_WORD = /^[a-zA-Z][\w./:-]{0,79}$/
/** Members that wrap content: their name says nothing about it, but that of what they stand in may. */
const CONTENT = new Set(
  'content text input output prompt instructions system arguments parts messages value data'.split(' '),
)
/** Members that hold encoded media, by the protocols' own names. */
const MEDIA = new Set('data file_data b64_json bytes image_url url audio inlineData'.split(' '))
/** By the top-level types that are registered with IANA. */
const MEDIA_TYPE = /^(?:application|audio|chemical|font|image|message|model|multipart|text|video)\/[\w.+-]{1,80}$/i
const DATA_URL = /^data:([\w.+-]{1,40}\/[\w.+-]{1,80})?[^,]{0,100},/
/** Words are shorter than the lines of anything encoded; what begins with one needs no further look. */
const SHORTEST_LINE = 32
const WORDS = /^\s*\S{1,31}\s+\S/
const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/

interface Walk {
  readonly redactor: Redactor
  readonly memory: Memory
  readonly tag: (type: string, value: string) => string
  readonly findings: BodyFinding[]
}

/** What comes again in many bodies. */
interface Memory {
  find(text: string): readonly Finding[]
  /** Whether a text is a word of a protocol: not a secret that somebody put where a model's name belongs. */
  isProtocol(text: string): boolean
  isMediaType(text: string): boolean
  /** Whether the name of a member holds nothing that is masked. */
  isCleanName(name: string): boolean
}

const memories = new WeakMap<Redactor, Memory>()

function memoryOf(redactor: Redactor): Memory {
  const known = memories.get(redactor)
  if (known !== undefined) return known
  const isHarmless = (word: string): boolean =>
    !/\d{6}/.test(word) && redactor.find(word).every(({ type }) => type === 'DATE' || type === 'URL')
  const memory: Memory = {
    find: rememberingTexts(redactor.find),
    isProtocol: rememberingWords((text) => PLAIN_WORD.test(text) && isHarmless(text)),
    isMediaType: rememberingWords((text) => MEDIA_TYPE.test(text) && isHarmless(text)),
    isCleanName: rememberingWords((name) => redactor.find(name).length === 0),
  }
  memories.set(redactor, memory)
  return memory
}

/** Where in the body a value stands. */
interface Spot {
  readonly path: string
  /** Name of its member; of the list that it is in, else of the body itself, which has none. */
  readonly key: string
  /** The nearest name that may say what it is; empty when there is none. */
  readonly context: string
  readonly mime: string | undefined
  readonly depth: number
}

const WHOLE: Spot = { path: '', key: '', context: '', mime: undefined, depth: 0 }

function mediaKind(mime: string): string {
  const [kind = ''] = mime.split('/')
  return kind === 'image' || kind === 'audio' || kind === 'video' ? kind.toUpperCase() : 'FILE'
}

/** The placeholder of encoded media, such as `[IMAGE image/png 2048 bytes]`. What only poses as a type is not repeated. */
function mediaPlaceholder({ memory }: Walk, mime: string | undefined, characters: number): string {
  const type = mime !== undefined && memory.isMediaType(mime) ? mime : 'application/octet-stream'
  return `[${mediaKind(type)} ${type} ${Math.floor((characters * 3) / 4)} bytes]`
}

/** The placeholder of a value that is encoded media; undefined when it is text. */
function media(walk: Walk, key: string, value: string, mime: string | undefined): string | undefined {
  const url = DATA_URL.exec(value)
  if (url !== null) return mediaPlaceholder(walk, url[1] ?? mime, value.length - url[0].length)
  const named = MEDIA.has(key) && (mime !== undefined || value.length >= 64)
  if (!named && value.length < SHORTEST_DATA) return undefined
  if (WORDS.test(value)) return undefined
  const lines = value.trim().split(/\s+/)
  if (lines.slice(0, -1).some((line) => line.length < SHORTEST_LINE)) return undefined
  const sample = lines.join('')
  if (sample.length < 16 || !BASE64.test(sample)) return undefined
  return mediaPlaceholder(walk, mime, sample.length)
}

const NOTHING: readonly Finding[] = []

function pointer(path: string, key: string): string {
  if (!/[~/]/.test(key)) return `${path}/${key}`
  return `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
}

/** Redacts a string; a member's name serves as context, as `ssn` does for `{"ssn": "078051120"}`. */
function redactString(walk: Walk, value: string, { path, key, context }: Spot): string {
  let findings = walk.memory.find(value)
  if (context !== '' && value.length > 0 && value.length <= LONGEST_FIELD) {
    const named = findNamed(walk, context, value)
    const telling = named.length > 0 && (context === key || saysMore(named, findNamed(walk, NEUTRAL, value)))
    if (telling && extent(named) >= extent(findings)) findings = named
  }
  for (const finding of findings) walk.findings.push({ ...finding, path })
  return replace(value, findings, walk.tag)
}

/** What is found in a value that stands behind a name. */
function findNamed({ redactor }: Walk, name: string, value: string): readonly Finding[] {
  const lead = `${name}: "`
  return redactor
    .find(`${lead}${value}"`)
    .filter(({ start, end }) => start >= lead.length && end <= lead.length + value.length)
    .map(({ type, start, end }) => ({ type, start: start - lead.length, end: end - lead.length }))
}

/**
 * A name that says nothing. Behind any name a value reads as that of a form, where dates and plain URLs are masked too;
 * the name above, which may be `message` or `result`, must make a difference by itself.
 */
const NEUTRAL = 'text'

function saysMore(named: readonly Finding[], neutral: readonly Finding[]): boolean {
  return named.some(
    ({ type, start, end }) =>
      !neutral.some((other) => other.type === type && other.start === start && other.end === end),
  )
}

/** Where the APIs themselves write a time, in epoch seconds. One in ten is a national number by its checksum. */
const TIMES: ReadonlySet<string> = new Set(['created', 'created_at', 'completed_at', 'expires_at'])
const YEAR_2001 = 1_000_000_000
const YEAR_2100 = 4_102_444_800

function extent(findings: readonly Finding[]): number {
  let sum = 0
  for (const { start, end } of findings) sum += end - start
  return sum
}

function mimeOf(record: Readonly<Record<string, unknown>>): string | undefined {
  for (const name of ['media_type', 'mimeType', 'mime_type']) {
    const value = record[name]
    if (typeof value === 'string' && /^[\w.+-]{1,40}\/[\w.+-]{1,80}$/.test(value)) return value
  }
  const format = record.format
  return typeof format === 'string' && 'data' in record && /^\w{1,10}$/.test(format) ? `audio/${format}` : undefined
}

function redactValue(walk: Walk, value: unknown, spot: Spot): unknown {
  if (spot.depth > MAX_DEPTH) return '[TOO_DEEP]'
  if (typeof value === 'string') {
    if (STRUCTURE.has(spot.key) && walk.memory.isProtocol(value)) return value
    return media(walk, spot.key, value, spot.mime) ?? redactString(walk, value, spot)
  }
  if (typeof value === 'number') return redactNumber(walk, value, spot)
  const depth = spot.depth + 1
  if (Array.isArray(value))
    return value.map((item, index) => redactValue(walk, item, { ...spot, path: `${spot.path}/${index}`, depth }))
  if (typeof value !== 'object' || value === null) return value
  const record = value as Readonly<Record<string, unknown>>
  const own = mimeOf(record)
  const entries: [string, unknown][] = []
  const used = new Set<string>()
  for (const [name, member] of Object.entries(record)) {
    const nameFindings = walk.memory.isCleanName(name) ? NOTHING : walk.redactor.find(name)
    let safe = replace(name, nameFindings, walk.tag)
    for (let copy = 2; used.has(safe); copy++) safe = `${safe}#${copy}`
    used.add(safe)
    const path = pointer(spot.path, safe)
    for (const finding of nameFindings) walk.findings.push({ ...finding, path })
    const context = CONTENT.has(name) ? spot.context : name
    const mime = own ?? (name === 'url' ? spot.mime : undefined)
    entries.push([safe, redactValue(walk, member, { path, key: name, context, mime, depth })])
  }
  return Object.fromEntries(entries)
}

/** A sign changes nothing about what the digits are; a masked number becomes the placeholder alone. */
function redactNumber(walk: Walk, value: number, spot: Spot): unknown {
  if (TIMES.has(spot.key) && value >= YEAR_2001 && value < YEAR_2100) return value
  const digits = String(Math.abs(value))
  if (!/^\d{8,19}$/.test(digits)) return value
  const redacted = redactString(walk, digits, spot)
  return redacted === digits ? value : redacted
}

function parsed(body: unknown): unknown {
  if (!(body instanceof Uint8Array)) return body
  const text = new TextDecoder('utf-8', { fatal: false }).decode(body)
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    if (error instanceof SyntaxError) return text
    throw error
  }
}

/**
 * Masks personal data and secrets in every string of a parsed body, keys included. Bytes are parsed as JSON first, and
 * redacted as text when they are none. Images, audio and files become placeholders with their type and size.
 * @throws {PortcullisError} `invalid_options`.
 */
export function redactBody(body: unknown, options?: RedactOptions & CallOptions): BodyRedaction {
  return redactBodyWith(redactorOf(options), body, options)
}

/** {@link redactBody} with a compiled redactor. */
export function redactBodyWith(redactor: Redactor, body: unknown, call?: CallOptions): BodyRedaction {
  const walk: Walk = { redactor, memory: memoryOf(redactor), tag: redactor.tagger(call), findings: [] }
  return { body: redactValue(walk, parsed(body), WHOLE), findings: walk.findings }
}
