/** E-mail addresses (RFC 5322 dot-atoms, internationalised ones included), found around an `@`. */

import { PRIORITY } from '../finding.ts'
import type { Scan } from '../scan.ts'
import { isAlphanumeric } from '../text.ts'

const MAX_LOCAL = 64
const MAX_DOMAIN = 255
const LOCAL_SYMBOLS = "!#$%&'*+-/=?^_`{|}~."

/** Endings of file names such as `icon@2x.png`, which no registry delegates. */
const FILE_ENDINGS = new Set(
  'png jpg jpeg gif svg webp css scss less js mjs cjs jsx ts tsx json map html htm yaml yml lock txt md whl tgz gz'.split(
    ' ',
  ),
)

function isLocal(code: number): boolean {
  return isAlphanumeric(code) || isUnicodeLetter(code) || LOCAL_SYMBOLS.includes(String.fromCharCode(code))
}

function isUnicodeLetter(code: number): boolean {
  return (code >= 0x370 && code < 0x2000) || (code >= 0x3040 && code < 0xd7b0)
}

function isDomain(code: number): boolean {
  return isAlphanumeric(code) || code === 45 || code === 46 || isUnicodeLetter(code)
}

/** Characters that usually enclose an address rather than begin it. */
function isEnclosing(code: number): boolean {
  return "'`={|&?/*#$^!~".includes(String.fromCharCode(code))
}

export function findEmail(scan: Scan, at: number): void {
  const { text } = scan
  // The user information of a URL is masked as such.
  if (at === scan.readUntil.authority) return
  let start = at
  const least = Math.max(0, at - MAX_LOCAL)
  while (start > least && isLocal(text.charCodeAt(start - 1))) start--
  // `key=value@host`, `{name}@host`: what stands before the last delimiter is no part of the address.
  for (let i = at - 1; i >= start; i--) {
    const code = text.charCodeAt(i)
    if (code === 37) {
      if (!/^[0-9a-f]{2}/i.test(text.slice(i + 1, i + 3))) continue
      start = Math.min(at, i + 3)
      break
    }
    if (isEnclosing(code)) {
      start = i + 1
      break
    }
  }
  while (start < at && (text.charCodeAt(start) === 46 || text.charCodeAt(start) === 45)) start++
  if (start > 0 && text.charCodeAt(start - 1) === 92 && /[nrt]/.test(text[start] ?? '') && start + 1 < at) start++
  if (start === at || text.charCodeAt(at - 1) === 46) return

  let end = at + 1
  const most = Math.min(text.length, at + 1 + MAX_DOMAIN)
  let lastDot = -1
  while (end < most) {
    const code = text.charCodeAt(end)
    if (!isDomain(code)) break
    if (code === 46) {
      if (text.charCodeAt(end - 1) === 46 || end === at + 1) break
      lastDot = end
    }
    end++
  }
  while (end > at + 1 && !isAlphanumeric(text.charCodeAt(end - 1)) && !isUnicodeLetter(text.charCodeAt(end - 1))) {
    end--
    if (end === lastDot) lastDot = text.lastIndexOf('.', end - 1)
  }
  if (lastDot <= at + 1 || lastDot >= end - 2) return
  const top = text.slice(lastDot + 1, end).toLowerCase()
  if (/^[0-9-]/.test(top) || /[0-9]/.test(top.replace(/^xn--.*/, '')) || FILE_ENDINGS.has(top)) return
  if (text.charCodeAt(at + 1) === 45) return
  // `git@host:path` and `ssh://git@host` name a service, not a person.
  if (text.slice(start, at) === 'git' && (text.charCodeAt(end) === 58 || text.charCodeAt(end) === 47)) return
  // A user part of a URL belongs to the URL detector, unless it is a mailto link.
  if (text.charCodeAt(start - 1) === 47 && text.charCodeAt(start - 2) === 47) return
  scan.candidates.push({ type: 'EMAIL', start, end, priority: PRIORITY.checked })
}
