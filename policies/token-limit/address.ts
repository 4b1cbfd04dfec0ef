/** Client addresses as counters see them. */

/**
 * IPv4 as it is; IPv6 by its /64, because one customer has at least that many addresses; an IPv4 address in IPv6
 * clothing as IPv4. Anything else, such as a socket's name, as it is.
 */
export function addressGroup(address: string): string {
  const bare = address.split('%', 1)[0] ?? ''
  if (!bare.includes(':')) return bare
  const groups = parseIpv6(bare)
  if (groups === undefined) return address
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff
  if (mapped) {
    const [high = 0, low = 0] = groups.slice(6)
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(':')}::/64`
}

function parseIpv6(text: string): number[] | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = parseGroups(halves[0] ?? '')
  const tail = parseGroups(halves[1] ?? '')
  if (head === undefined || tail === undefined) return undefined
  const missing = 8 - head.length - tail.length
  if (halves.length === 1) return missing === 0 ? head : undefined
  if (missing < 1) return undefined
  return [...head, ...new Array<number>(missing).fill(0), ...tail]
}

function parseGroups(text: string): number[] | undefined {
  if (text === '') return []
  const groups: number[] = []
  const pieces = text.split(':')
  for (const [index, piece] of pieces.entries()) {
    const quad = index === pieces.length - 1 ? parseQuad(piece) : undefined
    if (quad !== undefined) groups.push(...quad)
    else if (/^[0-9a-f]{1,4}$/i.test(piece)) groups.push(Number.parseInt(piece, 16))
    else return undefined
  }
  return groups
}

/** Dotted IPv4 as two groups. */
function parseQuad(text: string): [number, number] | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  if (match === null) return undefined
  const [a = 256, b = 256, c = 256, d = 256] = match.slice(1).map(Number)
  if (Math.max(a, b, c, d) > 255) return undefined
  return [a * 256 + b, c * 256 + d]
}
