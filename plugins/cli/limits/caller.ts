/** Callers as operators write them, and as counters are named after them. */

import { isIP } from 'node:net'
import { PortcullisError } from '../../../policies/errors.ts'
import type { FetchDocument } from '../../../policies/policy.ts'
import { addressGroup } from '../../../policies/token-limit/address.ts'
import { tagged } from '../../../policies/token-limit/keys.ts'

/** The counters that belong to no single caller. */
export const SHARED = 'shared'

export const CALLER_HELP = `CALLER is one of
  alice, consumer:alice    a consumer, by the id that the gateway gave it; with --kong-admin or --eg-admin also
                           by its user name
  credential:ID            a credential, by id, or by fingerprint where the gateway gives it no id
  ip:192.0.2.1, 192.0.2.1  a client address; IPv6 counts by /64
  claim:org.team=red       a verified claim
  shared                   no single caller: rules per route, per service, or global`

export interface GatewayAdmins {
  readonly kong?: string
  readonly expressGateway?: string
}

const LOOK_UP = { timeoutMs: 5_000, maxBytes: 1_048_576 }

/**
 * The caller parts that the text may stand for; none for {@link SHARED}.
 * @throws {PortcullisError} `invalid_caller`, or `unknown_consumer` when the gateway does not know it
 */
export async function callerParts(
  text: string,
  admins: GatewayAdmins,
  fetchDocument: FetchDocument,
): Promise<readonly string[]> {
  if (text === SHARED) return []
  const [, kind = '', rest = ''] = /^(consumer|credential|ip|claim):(.*)$/s.exec(text) ?? []
  if (kind === 'ip' || (kind === '' && isIP(text) !== 0)) return [addressPart(kind === '' ? text : rest)]
  if (kind === 'claim') return claimParts(rest)
  const value = kind === '' ? text : rest
  if (value === '') throw new PortcullisError('invalid_caller', 'CALLER names nobody.')
  if (kind === 'credential') return [tagged('credential', value)]
  return [tagged('consumer', await consumerId(value, admins, fetchDocument))]
}

function addressPart(text: string): string {
  const address = text.replace(/\/64$/, '')
  if (isIP(address) === 0) throw new PortcullisError('invalid_caller', 'CALLER holds no IP address behind `ip:`.')
  return tagged('ip', addressGroup(address))
}

/** A number or truth value counts apart from the text that looks like it. */
function claimParts(text: string): readonly string[] {
  const [, path, value] = /^([^\s=]+)=(.+)$/s.exec(text) ?? []
  if (path === undefined || value === undefined)
    throw new PortcullisError('invalid_caller', 'A claim is written claim:PATH=VALUE.')
  const parts = [tagged(`claim:${path}`, value)]
  if (String(Number(value)) === value) parts.push(tagged(`claim:${path}=number`, value))
  if (value === 'true' || value === 'false') parts.push(tagged(`claim:${path}=boolean`, value))
  return parts
}

async function consumerId(
  name: string,
  { kong, expressGateway }: GatewayAdmins,
  fetchDocument: FetchDocument,
): Promise<string> {
  if (kong !== undefined) return lookUp(`${trimmed(kong)}/consumers/${encodeURIComponent(name)}`, fetchDocument)
  if (expressGateway !== undefined)
    return lookUp(`${trimmed(expressGateway)}/users/${encodeURIComponent(name)}`, fetchDocument)
  return name
}

function trimmed(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new PortcullisError('invalid_admin', 'The Admin API is given as an http:// or https:// URL.')
  return url.replace(/\/+$/, '')
}

async function lookUp(url: string, fetchDocument: FetchDocument): Promise<string> {
  let id: unknown
  try {
    id = (JSON.parse(await fetchDocument(url, LOOK_UP)) as { readonly id?: unknown } | null)?.id
  } catch (error) {
    if (!(error instanceof PortcullisError) && !(error instanceof SyntaxError)) throw error
    const why = error instanceof PortcullisError ? ` ${error.message}` : ''
    throw new PortcullisError('unknown_consumer', `The gateway's Admin API does not tell who that consumer is.${why}`)
  }
  if (typeof id === 'string' && id !== '') return id
  throw new PortcullisError('unknown_consumer', 'The gateway’s Admin API names no id of that consumer.')
}
