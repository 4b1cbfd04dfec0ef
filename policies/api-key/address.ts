/** Client addresses and the ranges that a key may be used from. */

import { isIPv4, isIPv6 } from 'node:net'

/** Groups of 16 bits: two of IPv4, eight of IPv6. An IPv4 address in IPv6 clothing is IPv4. */
type Groups = readonly number[]

export interface AddressRange {
  readonly groups: Groups
  /** Length of the prefix in bits. */
  readonly bits: number
}

/** Undefined when it is none, such as the name of a socket. */
export function parseAddress(text: string): Groups | undefined {
  if (isIPv4(text)) return quad(text)
  const bare = text.split('%', 1)[0] ?? ''
  if (!isIPv6(bare)) return undefined
  const groups = expand(bare)
  return isMapped(groups) ? groups.slice(6) : groups
}

/**
 * A range as `10.0.0.0/8`, or one address. In tags of Kong, which takes no slash, as `10.0.0.0_8`. Undefined when it is none.
 */
export function parseRange(text: string): AddressRange | undefined {
  const [, base = '', length] = /^([0-9a-fA-F:.]+)(?:[/_](\d{1,3}))?$/.exec(text) ?? []
  const groups = parseAddress(base)
  if (groups === undefined) return undefined
  const whole = groups.length * 16
  const written = base.includes(':') ? 128 : 32
  if (length === undefined) return { groups, bits: whole }
  // A range of IPv6 that is wider than the mapped addresses is no range of IPv4.
  const bits = Number(length) - (written - whole)
  const padded = length.length > 1 && length.startsWith('0')
  return padded || bits < 0 || bits > whole ? undefined : { groups, bits }
}

export function isInside(address: Groups, { groups, bits }: AddressRange): boolean {
  if (address.length !== groups.length) return false
  return groups.every((group, index) => {
    const free = Math.min(16, Math.max(0, 16 * (index + 1) - bits))
    return group >> free === (address[index] ?? 0) >> free
  })
}

function quad(text: string): number[] {
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number)
  return [a * 256 + b, c * 256 + d]
}

function expand(text: string): number[] {
  const [head = '', tail] = text.split('::').map(groupsOf)
  const [before, after] = [head === '' ? [] : head, tail ?? []]
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
}

function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((piece) => (piece.includes('.') ? quad(piece) : [Number.parseInt(piece, 16)]))
}

function isMapped(groups: Groups): boolean {
  return groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)
}
