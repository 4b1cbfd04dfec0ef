/** Finds the key that a request carries, wherever the official SDKs put it. */

import type { Exchange } from '../policy.ts'

export type Presented =
  | { readonly type: 'none' }
  /** `headers`: where it stands, to take it out of the forwarded request. */
  | { readonly type: 'key'; readonly key: string; readonly headers: readonly string[] }
  | { readonly type: 'several'; readonly headers: readonly string[] }

export const NO_KEY: Presented = { type: 'none' }

/** A token for somebody else to verify: signed (three parts) or encrypted (five). Its header is an object, thus `ey`. */
const JWT = /^ey[\w-]+(?:\.[\w-]*){2}$|^ey[\w-]+(?:\.[\w-]*){4}$/

/** @param names headers to look at, in lower case */
export async function findKey(exchange: Pick<Exchange, 'header'>, names: readonly string[]): Promise<Presented> {
  const keys = new Set<string>()
  const headers: string[] = []
  for (const name of names) {
    const reading = exchange.header(name)
    const key = keyIn(name, reading instanceof Promise ? await reading : reading)
    if (key === undefined) continue
    keys.add(key)
    headers.push(name)
  }
  const [key, ...others] = keys
  if (key === undefined) return NO_KEY
  return others.length > 0 ? { type: 'several', headers } : { type: 'key', key, headers }
}

/** In `Authorization` after any scheme: the one of the SDKs is `Bearer`, that of Express Gateway's key-auth its own. */
function keyIn(name: string, value: string | undefined): string | undefined {
  const trimmed = value?.trim() ?? ''
  if (trimmed === '') return undefined
  if (name !== 'authorization') return trimmed
  const space = trimmed.search(/\s/)
  const credential = space === -1 ? trimmed : trimmed.slice(space).trim()
  return JWT.test(credential) ? undefined : credential
}
