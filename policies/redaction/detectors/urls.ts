/** Credentials in URLs: user information, and tokens of webhooks by their hosts (in the vendor tables). */

import { PRIORITY } from '../finding.ts'
import type { KeywordDetector, Scan } from '../scan.ts'
import { isPlaceholder } from './placeholders.ts'

const MAX_USER_INFO = 300
const STOPS = ' \t\r\n"\'`<>{}|\\^()[]'

/** Starts at `://`: masks `user:password` before an `@`. */
export const findUrlCredentials: KeywordDetector = (scan, _start, end) => {
  const { text } = scan
  let at = -1
  let colon = -1
  for (let i = end; i < text.length && i - end < MAX_USER_INFO; i++) {
    const character = text[i] ?? ''
    if (character === '@') {
      at = i
      continue
    }
    if (character === ':' && colon < 0) colon = i
    if (character === '/' || character === '?' || character === '#') {
      // A password may hold these, if an `@` and a host follow at once; otherwise the authority ends here.
      if (at > 0 || colon < 0 || !/^[^\s"'`<>@/]{0,40}@[\w.-]{1,60}/.test(text.slice(i + 1, i + 103))) break
      continue
    }
    if (STOPS.includes(character)) {
      if (character === '{' || character === '}' || character === '<' || character === '>') at = -1
      break
    }
  }
  if (at < 0) return
  scan.readUntil.authority = at
  if (colon < 0 || colon > at) {
    // A token without a password: `https://ghp_...@github.com`.
    const user = text.slice(end, at)
    if (user.length >= 16 && /\d/.test(user) && /^[\w.~%-]+$/.test(user)) {
      scan.candidates.push({ type: 'URL_CREDENTIALS', start: end, end: at, priority: PRIORITY.assigned })
    }
    return
  }
  const password = text.slice(colon + 1, at)
  if (password === '' ? colon - end < 16 : isPlaceholder(password) || isTemplate(password)) return
  scan.candidates.push({ type: 'URL_CREDENTIALS', start: end, end: at, priority: PRIORITY.vendor })
}

function isTemplate(value: string): boolean {
  return /^[$%#]\w*$|^\$[({]|^%[A-Z_]+%$|^[*.…]+$|^:?[A-Z_]*PASS(?:WORD)?[A-Z_]*$/.test(value)
}

const HOST = '(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\\.){1,8}[a-z]{2,18}'
const WHOLE_URL = new RegExp(
  `(?:https?|ftp)://[^\\s"'<>]{3,2000}|(?:www\\.)?${HOST}(?::\\d{1,5})?(?:[/?#][^\\s"'<>]{0,1000})?`,
  'gi',
)
const FILE_NAME =
  /\.(?:jsx?|tsx?|[mc][jt]s|py|rb|rs|go|sh|bat|mdx?|cc|cpp|hpp|cs|pl|so|ps|vb|hs|mk|in|am|do|ml|[hc]|json5?|ya?ml|toml|lock|txt|html?|css|s[ac]ss|less|png|jpe?g|gif|svg|webp|ico|pdf|csv|xml|zip|tar|t?gz|exe|dll|jar|java|class|kt|swift|php|lua|sql|db|log|conf|cfg|ini|env|map|test|spec|min|d|md5|sha\d*)$/i

/** URLs and domains, only for a text that is nothing but values. */
export function findBareUrls(scan: Scan): void {
  const { text } = scan
  if (!text.includes('.') && !text.includes('://')) return
  for (const match of text.matchAll(WHOLE_URL)) {
    const before = text[match.index - 1] ?? ' '
    const after = text[match.index + match[0].length] ?? ' '
    if (/[\w@.-]/.test(before) || /[\w@]/.test(after)) continue
    if (!match[0].includes('/') && FILE_NAME.test(match[0])) continue
    scan.candidates.push({
      type: 'URL',
      start: match.index,
      end: match.index + match[0].length,
      priority: PRIORITY.guessed,
    })
  }
}
