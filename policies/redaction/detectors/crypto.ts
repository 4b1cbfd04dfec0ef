/** Addresses of crypto currencies: Base58Check (Bitcoin and its kin), Bech32 (BIP 173, 350), Ethereum. */

import { createHash } from 'node:crypto'
import { PRIORITY } from '../finding.ts'
import type { KeywordDetector } from '../scan.ts'
import { isAlphanumeric, tokenStartsAt } from '../text.ts'

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const RIPPLE58 = 'rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz'

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest()
}

/** Whether a Base58Check value of 25 bytes (a version and a 160-bit hash) has its checksum. */
export function isBase58Check(value: string, alphabet = BASE58): boolean {
  const bytes = new Uint8Array(25)
  for (let i = 0; i < value.length; i++) {
    let carry = alphabet.indexOf(value[i] ?? '')
    if (carry < 0) return false
    for (let k = bytes.length - 1; k >= 0; k--) {
      carry += (bytes[k] ?? 0) * 58
      bytes[k] = carry & 0xff
      carry >>= 8
    }
    if (carry !== 0) return false
  }
  const check = sha256(sha256(bytes.subarray(0, 21)))
  for (let i = 0; i < 4; i++) if (check[i] !== bytes[21 + i]) return false
  return true
}

/** Whether a Ripple classic address has its checksum. */
export function isRipple(value: string): boolean {
  return isBase58Check(value, RIPPLE58)
}

const BECH32 = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]

function polymod(check: number, value: number): number {
  const top = check >>> 25
  let result = ((check & 0x1ffffff) << 5) ^ value
  for (let i = 0; i < 5; i++) if ((top >>> i) & 1) result ^= GENERATOR[i] ?? 0
  return result
}

/** Whether a Bech32 or Bech32m string has its checksum. */
export function isBech32(value: string): boolean {
  const lower = value.toLowerCase()
  if (value !== lower && value !== value.toUpperCase()) return false
  const separator = lower.lastIndexOf('1')
  if (separator < 1 || lower.length - separator < 7) return false
  let check = 1
  for (let i = 0; i < separator; i++) check = polymod(check, lower.charCodeAt(i) >> 5)
  check = polymod(check, 0)
  for (let i = 0; i < separator; i++) check = polymod(check, lower.charCodeAt(i) & 31)
  for (let i = separator + 1; i < lower.length; i++) {
    const digit = BECH32.indexOf(lower[i] ?? '')
    if (digit < 0) return false
    check = polymod(check, digit)
  }
  return check === 1 || check === 0x2bc830a3
}

/** Human-readable parts of Bech32 addresses: Bitcoin, its test nets, Litecoin, Cosmos, Nostr, Cardano. */
export const BECH32_KEYWORDS = ['bc1', 'tb1', 'bcrt1', 'ltc1', 'cosmos1', 'addr1', 'nsec1'] as const

const LONGEST_BECH32 = 120

/** Starts at the human-readable part of a Bech32 address. */
export const findBech32: KeywordDetector = (scan, start) => {
  const { text } = scan
  if (!tokenStartsAt(text, start)) return
  let end = start
  while (end - start <= LONGEST_BECH32 && isAlphanumeric(text.charCodeAt(end))) end++
  if (end - start < 14 || end - start > LONGEST_BECH32 || !isBech32(text.slice(start, end))) return
  scan.judged = Math.max(scan.judged, end)
  scan.candidates.push({ type: 'CRYPTO_ADDRESS', start, end, priority: PRIORITY.checked })
}
