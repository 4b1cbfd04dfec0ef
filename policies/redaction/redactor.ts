/** Compiled redaction of plain text. */

import { PortcullisError } from '../errors.ts'
import type { CustomPattern } from './custom.ts'
import { compileCustom } from './custom.ts'
import { findBareDates } from './detectors/dates.ts'
import { compileDetectors } from './detectors/index.ts'
import { findBareUrls } from './detectors/urls.ts'
import { decode, stretches } from './encodings.ts'
import type { Candidate, Family, Finding } from './finding.ts'
import { settle } from './finding.ts'
import type { Tagger, TagOptions } from './placeholder.ts'
import { createTagger } from './placeholder.ts'
import type { Detectors } from './scan.ts'
import { runScan } from './scan.ts'

export interface RedactOptions extends TagOptions {
  /** Detector families to run. Default `pii`, `national` and `secret`; `person` (names, street addresses) is opt-in. */
  readonly families?: readonly Exclude<Family, 'custom'>[]
  /** Labels that are left alone, such as `IP`. */
  readonly ignore?: readonly string[]
  /** Patterns of the operator's own. */
  readonly custom?: readonly CustomPattern[]
}

/** What can differ from call to call. */
export interface CallOptions extends Pick<TagOptions, 'tenant' | 'now'> {
  /** Most UTF-8 bytes of the redacted text; it is cut after redaction and never through a placeholder. */
  readonly maxBytes?: number
}

export interface Redaction {
  readonly text: string
  /** Sorted, without overlaps; offsets into the input. */
  readonly findings: readonly Finding[]
  /** The redacted text was longer than `maxBytes`. */
  readonly truncated: boolean
}

export interface Redactor {
  /** Masks what is found in a text. */
  redact(text: string, call?: CallOptions): Redaction
  /** Only finds. */
  find(text: string): readonly Finding[]
  /** The placeholders of a call, for redaction over structures. */
  tagger(call?: CallOptions): Tagger
}

const DEFAULT_FAMILIES = ['pii', 'national', 'secret'] as const

const compiled = new Map<string, Detectors>()

function detectorsOf(families: readonly Family[]): Detectors {
  const key = [...families].sort().join()
  const known = compiled.get(key)
  if (known !== undefined) return known
  const detectors = compileDetectors(new Set(families))
  compiled.set(key, detectors)
  return detectors
}

function hiddenCandidates(detectors: Detectors, text: string, hidden: readonly number[]): Candidate[] {
  const found: Candidate[] = []
  for (const [start, end] of stretches(text.length, hidden)) {
    const view = decode(text, start, end)
    const inner = runScan(detectors, view.text)
    for (const candidate of inner.candidates) {
      // What begins at the edge of a stretch may have been cut from something longer.
      if ((candidate.start === 0 && start > 0) || (candidate.end === view.text.length && end < text.length)) continue
      const from = view.map[candidate.start] ?? 0
      const to = view.map[candidate.end] ?? end
      if (text.slice(from, to) !== view.text.slice(candidate.start, candidate.end))
        found.push({ ...candidate, start: from, end: to })
    }
  }
  return found
}

/**
 * Compiles options once for many texts.
 * @throws {PortcullisError} `invalid_options` for an unknown family, a bad pattern, or bad tag options.
 */
export function createRedactor(options: RedactOptions = {}): Redactor {
  const families = options.families ?? DEFAULT_FAMILIES
  for (const family of families) {
    if (!['pii', 'national', 'secret', 'person'].includes(family)) {
      throw new PortcullisError('invalid_options', 'families holds an unknown name')
    }
  }
  const ignored = new Set(options.ignore ?? [])
  const detectors = detectorsOf(families)
  const custom = compileCustom(options.custom ?? [])
  createTagger({ ...options, now: options.now ?? 0 })

  const find = (text: string): readonly Finding[] => {
    const scan = runScan(detectors, text)
    let candidates: Candidate[] = scan.candidates
    if (scan.bare && families.includes('pii')) {
      findBareUrls(scan)
      findBareDates(scan)
    }
    if (scan.hidden.length > 0) candidates = [...candidates, ...hiddenCandidates(detectors, text, scan.hidden)]
    for (const matcher of custom) candidates.push(...matcher(text))
    if (ignored.size > 0) candidates = candidates.filter((candidate) => !ignored.has(candidate.type))
    return settle(candidates)
  }
  let lastKey: string | undefined
  let lastTagger: Tagger | undefined
  const tagger = (call: CallOptions = {}): Tagger => {
    const merged: TagOptions = { ...options, ...call }
    const rotation = merged.rotateSeconds ?? 86_400
    const period = rotation > 0 && merged.now !== undefined ? Math.floor(merged.now / 1000 / rotation) : 0
    const key = `${merged.now === undefined}:${period}:${merged.tenant ?? ''}`
    if (lastTagger === undefined || lastKey !== key) {
      lastTagger = createTagger(merged)
      lastKey = key
    }
    return lastTagger
  }
  return {
    find,
    tagger,
    redact(text, call) {
      const findings = find(text)
      return { ...render(text, findings, tagger(call), call?.maxBytes ?? Number.POSITIVE_INFINITY), findings }
    },
  }
}

/** The longest start of `text` within `most` UTF-8 bytes, whole characters only. */
function startWithin(text: string, most: number): string {
  if (text.length * 3 <= most || Buffer.byteLength(text) <= most) return text
  let bytes = 0
  let end = 0
  for (const character of text) {
    bytes += Buffer.byteLength(character)
    if (bytes > most) break
    end += character.length
  }
  return text.slice(0, end)
}

/** Puts placeholders where the findings are, up to `maxBytes`. */
function render(
  text: string,
  findings: readonly Finding[],
  tag: Tagger,
  maxBytes: number,
): { text: string; truncated: boolean } {
  let result = ''
  let left = maxBytes
  let at = 0
  const append = (part: string): boolean => {
    if (left === Number.POSITIVE_INFINITY) {
      result += part
      return true
    }
    const fitting = startWithin(part, left)
    result += fitting
    left -= Buffer.byteLength(fitting)
    return fitting.length === part.length
  }
  for (const { type, start, end } of findings) {
    if (!append(text.slice(at, start))) return { text: result, truncated: true }
    const placeholder = tag(type, text.slice(start, end))
    if (placeholder.length > left) return { text: result, truncated: true }
    append(placeholder)
    at = end
  }
  return { truncated: !append(text.slice(at)), text: result }
}

/** Puts placeholders where the findings are. */
export function replace(text: string, findings: readonly Finding[], tag: Tagger): string {
  return findings.length === 0 ? text : render(text, findings, tag, Number.POSITIVE_INFINITY).text
}

const redactors = new WeakMap<RedactOptions, Redactor>()
let plain: Redactor | undefined

/** The redactor of an options object, compiled once for that object. */
export function redactorOf(options: RedactOptions | undefined): Redactor {
  if (options === undefined) {
    plain ??= createRedactor()
    return plain
  }
  let redactor = redactors.get(options)
  if (redactor === undefined) {
    redactor = createRedactor(options)
    redactors.set(options, redactor)
  }
  return redactor
}

/**
 * Masks personal data and secrets in a text.
 * @throws {PortcullisError} `invalid_options`.
 */
export function redact(text: string, options?: RedactOptions & CallOptions): Redaction {
  return redactorOf(options).redact(text, options)
}
