/** The parts that name a counter, as a config writes them. */

export type Part =
  | { readonly kind: 'consumer' | 'credential' | 'ip'; readonly caller: true }
  | { readonly kind: 'claim'; readonly caller: true; readonly path: string }
  | { readonly kind: 'model' | 'route' | 'service' | 'global'; readonly caller: false }
  | { readonly kind: 'header'; readonly caller: false; readonly name: string }

/** Undefined when the text names no part. Claim paths hold neither spaces nor `=`: they become pieces of keys. */
export function parsePart(text: string): Part | undefined {
  switch (text) {
    case 'consumer':
    case 'credential':
    case 'ip':
      return { kind: text, caller: true }
    case 'model':
    case 'route':
    case 'service':
    case 'global':
      return { kind: text, caller: false }
  }
  const claim = /^claim:([^\s=]+)$/.exec(text)?.[1]
  if (claim !== undefined) return { kind: 'claim', caller: true, path: claim }
  const header = /^header:([A-Za-z0-9!#$%&'*+.^_`|~-]+)$/.exec(text)?.[1]
  if (header !== undefined) return { kind: 'header', caller: false, name: header.toLowerCase() }
  return undefined
}
