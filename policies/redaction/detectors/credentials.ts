/** Credentials in HTTP headers, command lines and manifests, and tokens that only their shape tells. */

import { PRIORITY } from '../finding.ts'
import type { KeywordDetector, Scan } from '../scan.ts'
import { isLetter, tokenStartsAt } from '../text.ts'
import { entropy, isPlaceholder, isSequence, isWordy, wordiness } from './placeholders.ts'
import { isHash, UUID } from './secrets.ts'

const CREDENTIAL = /[ \t]{1,3}["']?([A-Za-z0-9_~@.+/=-]{8,2000})/y

/** `Bearer x`, `Basic x` and `Token x` of HTTP authorization. */
export const findAuthorization: KeywordDetector = (scan, start, end) => {
  const { text } = scan
  if (start > 0 && isLetter(text.charCodeAt(start - 1))) return
  CREDENTIAL.lastIndex = end
  const match = CREDENTIAL.exec(text)
  if (match === null) return
  const value = match[1] ?? ''
  const scheme = text.slice(start, end).toLowerCase()
  if (isPlaceholder(value) || isSequence(value)) return
  if (scheme === 'basic') {
    if (!/^[A-Za-z0-9+/]{8,}={0,2}$/.test(value)) return
    const decoded = Buffer.from(value, 'base64').toString('latin1')
    if (!/^[\x20-\x7e]{1,200}:[\x20-\x7e]*$/.test(decoded)) return
  } else {
    if (!/\d/.test(value) || isWordy(value, 0.6) || entropy(value) < 2.8) return
    if (
      scheme === 'token' &&
      !/authorization["']?\s*[:=,]\s*["'f]{0,2}$/i.test(text.slice(Math.max(0, start - 24), start))
    )
      return
  }
  const last = CREDENTIAL.lastIndex
  scan.candidates.push({ type: 'AUTHORIZATION', start: last - value.length, end: last, priority: PRIORITY.assigned })
}

const USER =
  /(?:=|[ \t]{0,4})(?:"([^"\s]{1,100}:[^"\n]{3,200})"|'([^'\s]{1,100}:[^'\n]{3,200})'|([\w.@+-]{1,100}:[^\s"'`]{3,200}))/y

/** `curl -u user:password`. */
export const findCommandLineUser: KeywordDetector = (scan, _start, end) => {
  USER.lastIndex = end
  const match = USER.exec(scan.text)
  if (match === null) return
  const value = match[1] ?? match[2] ?? match[3] ?? ''
  const password = value.slice(value.indexOf(':') + 1)
  if (isPlaceholder(password) || /^[$%{<:]|\/\/|^\d+$/.test(password)) return
  const last = USER.lastIndex - (match[3] === undefined ? 1 : 0)
  scan.candidates.push({ type: 'PASSWORD', start: last - value.length, end: last, priority: PRIORITY.assigned })
}

const SECRET_KIND = /^kind:[ \t]*["']?secret\b/i
const DATA_LINE = /^[ \t]+[\w.-]{1,100}:[ \t]*["']?([A-Za-z0-9+/]{8,4000}={0,2})["']?[ \t]*$/gm

/** Values of a Kubernetes Secret manifest: the lines under `data:` and `stringData:` near `kind: Secret`. */
export const findKubernetesSecret: KeywordDetector = (scan, start) => {
  const { text } = scan
  if (start < scan.readUntil.manifest || !SECRET_KIND.test(text.slice(start, start + 24))) return
  scan.readUntil.manifest = start + 2_000
  const lead = text.slice(Math.max(0, start - 2_000), start)
  const first = start - lead.length + Math.max(0, lead.lastIndexOf('\n---'))
  const block = text.slice(first, start + 4_000)
  for (const section of block.matchAll(/^(?:data|stringData):[^\n]{0,40}\n((?:[ \t]+[^\n]{0,4100}\n?){1,60})/gm)) {
    const offset = first + section.index + section[0].length - (section[1] ?? '').length
    for (const line of (section[1] ?? '').matchAll(DATA_LINE)) {
      const value = line[1] ?? ''
      const at = offset + line.index + line[0].lastIndexOf(value)
      scan.candidates.push({ type: 'SECRET', start: at, end: at + value.length, priority: PRIORITY.assigned })
    }
  }
}

const DISCORD = /[MNO][A-Za-z\d_-]{23,25}\.[A-Za-z\d_-]{6}\.[A-Za-z\d_-]{27,38}(?![A-Za-z\d_-])/y

/** Tokens that only their shape tells, and random words in a text that is nothing but values. */
export function findShapedToken(scan: Scan, start: number, end: number): void {
  const { text } = scan
  DISCORD.lastIndex = start
  if (DISCORD.test(text) && tokenStartsAt(text, start)) {
    scan.candidates.push({ type: 'DISCORD_SECRET', start, end: DISCORD.lastIndex, priority: PRIORITY.vendor })
    return
  }
  if (!scan.bare) return
  const run = /[A-Za-z0-9+/_=-]{20,200}/y
  let first = start
  while (first > 0 && /[A-Za-z0-9+/_=-]/.test(text[first - 1] ?? ' ')) first--
  run.lastIndex = first
  const match = run.exec(text)
  if (match === null || run.lastIndex < end) return
  const value = match[0]
  if (UUID.test(value) || value.includes('//')) return
  const quoted = /["'`]/.test(text[first - 1] ?? '') && text[first - 1] === text[run.lastIndex]
  if (/^(?:0x)?[a-f0-9]{64}$/i.test(value) || (quoted && isHash(value))) {
    scan.candidates.push({ type: 'SECRET', start: first, end: run.lastIndex, priority: PRIORITY.guessed })
    return
  }
  if (isHash(value)) return
  if (/\d/.test(value) && /[a-z]/.test(value) && /[A-Z]/.test(value) && entropy(value) >= 4 && wordiness(value) < 0.5) {
    scan.candidates.push({ type: 'SECRET', start: first, end: run.lastIndex, priority: PRIORITY.guessed })
  }
}
