/** Secrets in base64: the encodings of their prefixes at each of the three alignments are keywords themselves. */

import { PRIORITY } from '../finding.ts'
import type { KeywordDetector } from '../scan.ts'
import { isAlphanumeric } from '../text.ts'

/** Prefixes and names whose encoding is worth decoding for. Long enough that six base64 characters stay fixed. */
const TELLING = [
  '-----BEGIN',
  'AKIAI',
  'AKIA',
  'ghp_',
  'gho_',
  'ghs_',
  'github_pat_',
  'glpat-',
  'xoxb-',
  'xoxp-',
  'sk_live_',
  'sk-ant-',
  'sk-proj-',
  'AIzaSy',
  'npm_',
  'pypi-A',
  'hvs.',
  'dop_v1_',
  'shpat_',
  'SG.',
  'password',
  'Password',
  'PASSWORD',
  'passwd',
  'secret',
  'SECRET',
  'Secret',
  'api_key',
  'API_KEY',
  'apikey',
  'access_key',
  'ACCESS_KEY',
  'token"',
  'Bearer ',
  'eyJhbGci',
  'eyJ0eXAi',
  '{"alg"',
  'postgres://',
  'mysql://',
  'mongodb',
]

/** What of an encoding does not depend on the text around it. */
function encodings(prefix: string): string[] {
  const bytes = Buffer.from(prefix, 'latin1')
  return [0, 1, 2].map((shift) => {
    const padded = Buffer.concat([Buffer.alloc(shift), bytes])
    const text = padded.toString('base64').replace(/=+$/, '')
    const first = shift === 0 ? 0 : shift === 1 ? 2 : 3
    const whole = Math.floor((padded.length * 8) / 6)
    return text.slice(first, whole)
  })
}

/** Encodings by folded keyword; the exact spelling is compared at a hit. */
const ENCODED: ReadonlyMap<string, readonly string[]> = (() => {
  const map = new Map<string, string[]>()
  const widened = TELLING.flatMap((prefix) =>
    prefix.length > 4 ? [prefix] : [prefix, ...[' ', '=', '"', '\n'].map((lead) => lead + prefix)],
  )
  for (const prefix of widened) {
    for (const text of encodings(prefix)) {
      if (text.length < 5) continue
      map.set(text.toLowerCase(), [...(map.get(text.toLowerCase()) ?? []), text])
    }
  }
  return map
})()

export const BASE64_KEYWORDS: readonly string[] = [...ENCODED.keys()].filter((keyword) => /^[a-z0-9/+]+$/.test(keyword))

const MAX_RUN = 16_384
const MIN_RUN = 16

function isBase64(code: number): boolean {
  return isAlphanumeric(code) && code < 128 ? true : code === 43 || code === 47 || code === 45 || code === 95
}

const TELLS =
  /-----BEGIN[ A-Z]{0,40}PRIVATE KEY|(?:A3T[A-Z0-9]|AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9_]{36}|github_pat_\w{40}|glpat-[\w-]{20}|xox[bpars]-[\w-]{10}|[sr]k_(?:live|test)_\w{10}|sk-(?:ant|proj)-[\w-]{20}|AIza[\w-]{35}|npm_\w{36}|pypi-AgE|hv[sb]\.[\w-]{20}|do[por]_v1_|shp(?:at|ca|pa|ss)_\w{32}|SG\.[\w-]{16,}\.|(?:password|passwd|secret|api_?key|access_?key|token)["']?\s{0,3}[:=]\s{0,3}["']?[^\s"'<>{}$]{5,}|Bearer [\w.~+/-]{12,}|eyJ[\w-]{10,}\.eyJ|\{"alg"\s{0,2}:|(?:postgres(?:ql)?|mysql|mongodb(?:\+srv)?):\/\/[^\s:/@]{1,64}:[^\s@]{1,128}@/i

/** Decodes a base64 run once, when it begins like a secret does, and masks it when the decoded text holds one. */
export const findBase64: KeywordDetector = (scan, start, end) => {
  const { text, readUntil } = scan
  if (start < readUntil.base64) return
  const seen = text.slice(start, end)
  if (ENCODED.get(seen.toLowerCase())?.includes(seen) !== true) return
  let first = start
  while (first > 0 && start - first < MAX_RUN && isBase64(text.charCodeAt(first - 1)) && first > readUntil.base64)
    first--
  let last = end
  while (last < text.length && last - start < MAX_RUN && isBase64(text.charCodeAt(last))) last++
  readUntil.base64 = last
  if (last - first < MIN_RUN) return
  const decoded = Buffer.from(text.slice(first, last), 'base64').toString('latin1')
  if (!TELLS.test(decoded)) return
  while (text[last] === '=' && last - start < MAX_RUN + 2) last++
  scan.candidates.push({ type: 'ENCODED_SECRET', start: first, end: last, priority: PRIORITY.assigned })
}
