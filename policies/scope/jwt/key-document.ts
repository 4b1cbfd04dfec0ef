/** A JSON Web Key Set, read for its public keys. */

import { isObject } from '../../llm/json.ts'

export type Jwk = Readonly<Record<string, unknown>>

export interface KeyDocument {
  readonly keys: readonly Jwk[]
  /** How many private or secret keys were left out. */
  readonly secret: number
}

const MAX_KEYS = 100
/** Members that only a private or a secret key has (RFC 7518 6). */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']
const PUBLIC_TYPES = new Set(['RSA', 'EC', 'OKP'])

/** Undefined when the text is no key set. Keys of other kinds are left out: a set may hold what we do not need. */
export function parseKeySet(text: string): KeyDocument | undefined {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isObject(document) || !Array.isArray(document.keys) || document.keys.length > MAX_KEYS) return undefined
  const all = document.keys.filter(isObject)
  const isSecret = (key: Jwk) => key.kty === 'oct' || SECRET_MEMBERS.some((member) => key[member] !== undefined)
  return {
    keys: all.filter((key) => !isSecret(key) && PUBLIC_TYPES.has(String(key.kty))),
    secret: all.filter(isSecret).length,
  }
}
