/** IP addresses (RFC 791, RFC 4291 text forms) and MAC addresses. */

import { PRIORITY } from '../finding.ts'
import type { Scan } from '../scan.ts'
import { isDigit, isWord } from '../text.ts'

const IPV4 =
  /(?:25[0-5]|2[0-4]\d|1?\d?\d|0\d\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d|0\d\d)){3}(?:\/(?:3[0-2]|[12]?\d)(?!\d|\.\d))?/y
const VERSION_BEFORE =
  /(?:version|release|ver|rev|build|firmware|assembly|section|chapter|clause|oid|rfc|table|figure|§|[/^~<>]=?|(?:^|[^a-z])v)\W{0,4}$/i

const ADDRESS_BEFORE = /\bip|addr|host|server|dns|client|remote|from|:\/\/|@|peer|node\b|ping|ssh|connect/i

/** Addresses that name no host: loopback, unspecified, masks, broadcast. */
function namesNoHost(address: string): boolean {
  return /^(?:127\.|0\.|255\.|\d+\.0\.0\.\d(?!\d)(?!\/))/.test(address) && !address.startsWith('10.0.0.')
}

/** The end of an IPv4 address at `start`, or -1. */
export function ipv4End(scan: Scan, start: number): number {
  const { text } = scan
  IPV4.lastIndex = start
  const match = IPV4.exec(text)
  if (match === null) return -1
  const end = IPV4.lastIndex
  const before = start > 0 ? text.charCodeAt(start - 1) : 32
  if (isWord(before) || before === 46 || before === 45) return -1
  const after = text.charCodeAt(end)
  if (isWord(after) || ((after === 46 || after === 45) && isWord(text.charCodeAt(end + 1)))) return -1
  if (scan.bare) return end
  if (namesNoHost(match[0])) return -1
  const lead = text.slice(Math.max(0, start - 24), start)
  // Small numbers are sections, versions and object identifiers unless something says otherwise.
  const octets = match[0].split(/[./]/).map(Number)
  if ((octets[0] ?? 0) < 10 && octets.slice(0, 4).every((octet) => octet < 70) && !ADDRESS_BEFORE.test(lead)) return -1
  if (VERSION_BEFORE.test(lead) && !lead.endsWith('//')) return -1
  return end
}

function isHex(code: number): boolean {
  return isDigit(code) || ((code | 32) >= 97 && (code | 32) <= 102)
}

const MAX_ADDRESS = 64

/** Whether a run of hex digits, colons and dots is an IPv6 address; `::` and dotted quads included. */
export function isIpv6(value: string): boolean {
  const halves = value.split('::')
  if (halves.length > 2) return false
  let groups = 0
  for (const [index, half] of halves.entries()) {
    if (half === '') continue
    const parts = half.split(':')
    for (const [place, part] of parts.entries()) {
      const last = index === halves.length - 1 && place === parts.length - 1
      if (last && part.includes('.')) {
        if (!/^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/.test(part)) return false
        groups += 2
        continue
      }
      if (!/^[0-9a-f]{1,4}$/i.test(part)) return false
      groups++
    }
  }
  return halves.length === 2 ? groups < 8 : groups === 8
}

const MAC_COLON = /(?:[0-9a-f]{2}:){5}(?:(?:[0-9a-f]{2}:){2})?[0-9a-f]{2}(?![0-9a-z]|:[0-9a-f])/iy

/** Starts at a colon between hex digits, or at the first of two colons. */
export function findColonAddress(scan: Scan, at: number): void {
  const { text } = scan
  if (at < scan.readUntil.colon) return
  let start = at
  while (start > 0 && at - start < MAX_ADDRESS) {
    const code = text.charCodeAt(start - 1)
    if (!isHex(code) && code !== 58) break
    start--
  }
  let end = at
  let colons = 0
  let doubled = false
  while (end < text.length && end - at < MAX_ADDRESS) {
    const code = text.charCodeAt(end)
    if (code === 58) {
      colons++
      doubled ||= text.charCodeAt(end + 1) === 58
    } else if (!isHex(code) && !(code === 46 && isDigit(text.charCodeAt(end + 1)))) break
    end++
  }
  scan.readUntil.colon = end
  if (colons < 5 && !doubled) return
  const before = text.charCodeAt(start - 1)
  if (start > 0 && (isWord(before) || before === 46)) return
  MAC_COLON.lastIndex = start
  const mac = MAC_COLON.exec(text)
  if (mac !== null) {
    if (!/^(?:00[:]?)+$|^(?:ff[:]?)+$/i.test(mac[0])) {
      scan.candidates.push({ type: 'MAC', start, end: MAC_COLON.lastIndex, priority: PRIORITY.checked })
      scan.judged = Math.max(scan.judged, MAC_COLON.lastIndex)
    }
    return
  }
  while (end > start && text.charCodeAt(end - 1) === 58 && text.charCodeAt(end - 2) !== 58) end--
  const value = text.slice(start, end)
  if (isWord(text.charCodeAt(end)) || !isIpv6(value)) return
  const groups = value.split(':').filter((part) => part !== '').length
  // `::`, `a::b` and `::1` are operators, selectors and the loopback far more often than addresses of somebody.
  if (!scan.bare) {
    if (value === '::1' || groups < 2) return
    if (groups === 2 && !/[0-9a-f]{3,4}/i.test(value)) return
    if (!/\d/.test(value) && groups < 4) return
  } else if (value === '::') return
  let last = end
  const zone = /%[0-9a-z]{1,15}/iy
  zone.lastIndex = last
  if (zone.test(text)) last = zone.lastIndex
  const prefix = /\/(?:12[0-8]|1[01]\d|[1-9]?\d)(?!\d)/y
  prefix.lastIndex = last
  if (prefix.test(text)) last = prefix.lastIndex
  scan.judged = Math.max(scan.judged, last)
  scan.candidates.push({ type: 'IP', start, end: last, priority: PRIORITY.checked })
}

const MAC_DASH = /(?:[0-9a-f]{2}-){5}[0-9a-f]{2}(?![0-9a-z]|-[0-9a-z])/iy
const MAC_DOT = /[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}(?![0-9a-z]|\.[0-9a-z])/iy

/** The range of a dashed or dotted MAC address that holds the word `[start, end)`, or undefined. */
export function dashedMac(text: string, start: number, end: number): { start: number; end: number } | undefined {
  const width = end - start
  const separator = width === 2 ? 45 : width === 4 ? 46 : 0
  if (separator === 0 || (text.charCodeAt(end) !== separator && text.charCodeAt(start - 1) !== separator))
    return undefined
  let first = start
  for (let steps = 0; steps < 5; steps++) {
    if (text.charCodeAt(first - 1) !== separator || first - 1 - width < 0) break
    let hex = true
    for (let i = first - 1 - width; i < first - 1; i++) hex &&= isHex(text.charCodeAt(i))
    if (!hex) break
    first -= width + 1
  }
  if (first > 0 && (isWord(text.charCodeAt(first - 1)) || text.charCodeAt(first - 1) === separator)) return undefined
  const pattern = width === 2 ? MAC_DASH : MAC_DOT
  pattern.lastIndex = first
  const match = pattern.exec(text)
  if (match === null || !/\d/.test(match[0]) || /^[0.-]+$|^(?:\d\d-){5}\d\d$/.test(match[0])) return undefined
  return { start: first, end: pattern.lastIndex }
}
