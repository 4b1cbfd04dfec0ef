/** Web tokens and private keys. */

import { PRIORITY } from '../finding.ts'
import type { KeywordDetector } from '../scan.ts'
import { isAlphanumeric, isSpace, tokenStartsAt } from '../text.ts'

const MAX_SEGMENT = 16_384

function isUrlSafe(code: number): boolean {
  return isAlphanumeric(code) || code === 45 || code === 95
}

/** JSON Web Tokens and Encrypted ones (RFC 7515, 7516): a base64url JSON header and dotted parts. */
export const findJwt: KeywordDetector = (scan, start) => {
  const { text, readUntil } = scan
  if (!tokenStartsAt(text, start) || !text.startsWith('ey', start) || start < readUntil.jwt) return
  let parts = 1
  let length = 0
  const lengths: number[] = []
  let end = start
  const most = Math.min(text.length, start + MAX_SEGMENT)
  for (; end < most; end++) {
    const code = text.charCodeAt(end)
    if (code === 46) {
      if (length < 10 && parts < 2) break
      lengths.push(length)
      length = 0
      parts++
      if (parts > 5) break
      continue
    }
    if (!isUrlSafe(code) && code !== 61 && !(parts >= 2 && (code === 43 || code === 47))) break
    length++
  }
  lengths.push(length)
  readUntil.jwt = end
  const [header = 0, payload = 0] = lengths
  if (lengths.length < 2 || header < 10 || payload < 8) return
  const opening = Buffer.from(text.slice(start, start + 24), 'base64url').toString('latin1')
  if (!/^\{\s*"[a-z0-9_]/i.test(opening)) return
  scan.candidates.push({
    type: 'JWT',
    start,
    end: text.charCodeAt(end - 1) === 46 ? end - 1 : end,
    priority: PRIORITY.vendor,
  })
}

const MAX_PEM = 32_768
const PEM_HEADER = /-----BEGIN[ A-Z0-9_-]{0,60}PRIVATE KEY(?: BLOCK)?(?:-----)?/iy
const PEM_FOOTER = /-----END[ A-Z0-9_-]{0,60}PRIVATE KEY(?: BLOCK)?(?:-----)?/gi

const KEY_HEADERS = /(?:\s{0,4}[A-Z][A-Za-z-]{2,20}: [^\n]{0,100}){0,8}/y

/** Where the base64 lines of a key end that start at `from`; line breaks may be escaped. */
function keyMaterialEnd(text: string, from: number): number {
  KEY_HEADERS.lastIndex = from
  KEY_HEADERS.test(text)
  let at = Math.max(from, KEY_HEADERS.lastIndex)
  let solid = from
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === 92 && /[nr]/.test(text[at + 1] ?? '')) at += 2
    else if ((isAlphanumeric(code) && code < 128) || code === 43 || code === 47 || code === 61) solid = ++at
    else if (isSpace(code)) at++
    else break
  }
  return solid
}

/** Private keys in PEM armour (RFC 7468), OpenSSH's and PGP's included; a block without its end is masked as far as it goes. */
export const findPem: KeywordDetector = (scan, start) => {
  const { text, readUntil } = scan
  if (start < readUntil.pem) return
  PEM_HEADER.lastIndex = start
  if (!PEM_HEADER.test(text)) return
  const body = PEM_HEADER.lastIndex
  const block = text.slice(body, body + MAX_PEM)
  const nextBegin = block.search(/-----BEGIN/i)
  const own = nextBegin < 0 ? block : block.slice(0, nextBegin)
  PEM_FOOTER.lastIndex = 0
  const footer = PEM_FOOTER.exec(own)
  let end: number
  if (footer !== null) {
    const content = own.slice(0, footer.index)
    // Code that looks for the armour has it without a key inside.
    if (
      content.replace(/[^A-Za-z0-9+/]/g, '').length < 16 &&
      !/^[A-Za-z0-9+/=\s]*[A-Za-z0-9+/][A-Za-z0-9+/=\s]*$/.test(content)
    ) {
      readUntil.pem = body
      return
    }
    end = body + footer.index + footer[0].length
  } else {
    const last = keyMaterialEnd(text, body)
    const solid = text.slice(body, Math.min(last, body + 200)).replace(/\s|\\[nr]/g, '').length
    if (solid < 24 && text.length - body > 200) {
      readUntil.pem = body
      return
    }
    end = last
  }
  readUntil.pem = end
  scan.candidates.push({ type: 'PRIVATE_KEY', start, end, priority: PRIORITY.vendor })
}

/** PuTTY's private keys. */
export const findPutty: KeywordDetector = (scan, start) => {
  const block =
    /PuTTY-User-Key-File-\d[^\n]{0,80}(?:\r?\n(?:[A-Za-z-]{3,20}: [^\n]{0,120}|[A-Za-z0-9+/=]{1,80})){0,200}/iy
  block.lastIndex = start
  if (start < scan.readUntil.pem || !block.test(scan.text)) return
  scan.readUntil.pem = block.lastIndex
  // Code that reads such files has the first line alone.
  if (scan.text.length > 200 && !scan.text.slice(start, block.lastIndex).includes('\n')) return
  scan.candidates.push({ type: 'PRIVATE_KEY', start, end: block.lastIndex, priority: PRIORITY.vendor })
}
