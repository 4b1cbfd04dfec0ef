/** Keys: where they lie, and how old they are. */

import { DAY_MS, parseDate, TAGS } from '../../../../policies/api-key/lifecycle.ts'
import type { Credential } from '../entities.ts'
import { isRaw, type Raw, text } from '../place.ts'
import type { Hit, Rule } from '../rule.ts'
import type { Site } from '../site.ts'
import { CREDENTIAL_HEADERS } from './credentials.ts'

/** Resolved by Kong when it runs, or by deck before it is applied. */
function isReference(value: string): boolean {
  return /^\{vault:\/\/[^{}]+\}$/.test(value) || /\$\{\{\s*env\s/.test(value)
}

export const secretInClear: Rule = {
  id: 'secret-in-clear',
  severity: 'error',
  title: 'A provider’s key or another secret in the configuration, in clear',
  why: 'Whoever can read the file, its history, a database dump or the Admin API has the key.',
  fix: 'Use llm-upstream with `{vault://env/...}`, or another field that Kong resolves; deck’s environment variables (`DECK_...`) keep it at least out of the file.',
  *find(site) {
    for (const plugin of site.config.plugins) {
      const path = secretIn(plugin.config, 'config', site)
      if (path !== undefined)
        yield { place: plugin.place, what: `${plugin.name} holds a secret in ${path}`, on: [plugin] }
    }
    for (const service of site.config.services) {
      const url = text(service.raw.url)
      if (url !== undefined && URL.canParse(url) && new URL(url).password !== '')
        yield {
          place: service.place,
          what: `the url of service "${service.name ?? ''}" holds a password`,
          on: [service],
        }
    }
    for (const { kind, ...holder } of site.config.holders) {
      const path =
        kind === 'certificate'
          ? ['key', 'key_alt'].find((field) => isInClear(holder.raw[field]))
          : secretIn(holder.raw.config, 'config', site)
      if (path !== undefined)
        yield {
          place: holder.place,
          what: `a ${kind}${holder.name === undefined ? '' : ` "${holder.name}"`} holds a secret in ${path}`,
          on: [holder],
        }
    }
  },
}

function isInClear(value: unknown): boolean {
  const found = text(value)
  return found !== undefined && !isReference(found)
}

/** Path of the first secret; never the secret. */
function secretIn(value: unknown, path: string, site: Site): string | undefined {
  if (typeof value === 'string') return isClearSecret(value, path, site) ? path : undefined
  const members = Array.isArray(value) ? value.map((item, index) => [`[${index}]`, item] as const) : membersOf(value)
  for (const [key, member] of members) {
    const found = secretIn(member, path + key, site)
    if (found !== undefined) return found
  }
  return undefined
}

function membersOf(value: unknown): readonly (readonly [string, unknown])[] {
  return isRaw(value) ? Object.entries(value).map(([key, member]) => [`.${key}`, member] as const) : []
}

function isClearSecret(value: string, path: string, site: Site): boolean {
  if (value === '' || isReference(value)) return false
  const name = /\.(\w+)[^.]*$/.exec(path)?.[1] ?? ''
  const [header = '', ...rest] = value.split(':')
  const sent = rest.join(':').trim()
  // By its place alone: whatever stands there is a key.
  if (/\.(add|replace|append)\.headers\[\d+\]$/.test(path) && CREDENTIAL_HEADERS.includes(header.trim().toLowerCase()))
    return sent !== '' && !sent.includes('$(') && !sent.includes('{vault:') && !isReference(sent)
  const sentAs = /\.headers\.([\w-]+)$/.exec(path)?.[1]?.toLowerCase()
  if (sentAs !== undefined && CREDENTIAL_HEADERS.includes(sentAs)) return !value.includes('{vault:')
  if (/\.(header_value|param_value|aws_secret_access_key|gcp_service_account_json)$/.test(path)) return true
  return site.isSecret(`${name}: ${value}`) || site.isSecret(value)
}

export const clientKeyInClear: Rule = {
  id: 'client-key-in-clear',
  severity: 'warning',
  title: 'A caller’s key in a file, in clear',
  why: 'Whoever can read the file or its history can call as that consumer.',
  fix: 'Keep keys in the pack’s own registry (`portcullis keys issue --redis`), which holds keyed hashes only; or let deck put them in from environment variables (`DECK_...`). Where the file is itself a mounted secret, or an example, tag the credential `portcullis-ack:client-key-in-clear`.',
  *find({ config }) {
    if (!config.fromFile) return
    for (const credential of config.credentials)
      for (const field of ['key', 'secret', 'password', 'client_secret'] as const) {
        // The `key` of a JWT or HMAC credential is a name.
        if (field === 'key' && credential.type !== 'keyauth_credentials') continue
        const value = text(credential.raw[field])
        if (value !== undefined && !isReference(value))
          yield ofCredential(credential, `${labelOf(credential)} has its ${field} in clear`)
      }
  },
}

function ofCredential(credential: Credential, what: string): Hit {
  return { place: credential.place, what, on: [credential, credential.consumer] }
}

function labelOf({ type, consumer }: Credential): string {
  return `a ${type.replace(/_(credentials|secrets)$/, '')} credential of consumer "${consumer?.name ?? ''}"`
}

/** Fields of bundled plugins in which Kong OSS 3.9 resolves no vault reference. */
const UNRESOLVED_PLUGINS = new Set([
  'request-transformer',
  'response-transformer',
  'request-termination',
  'ip-restriction',
  'key-auth',
  'correlation-id',
])

export const vaultNotResolved: Rule = {
  id: 'vault-not-resolved',
  severity: 'error',
  title: 'A vault reference where Kong resolves none',
  why: 'Kong OSS takes the reference as plain text there: as a key that everybody can read in the documentation, or as the value that is sent upstream.',
  fix: 'Send the provider’s key with llm-upstream, whose values Kong resolves. A reference must be the whole value. Credentials cannot be references.',
  *find({ config }) {
    for (const credential of config.credentials)
      if (Object.values(credential.raw).some((value) => typeof value === 'string' && value.includes('{vault://')))
        yield ofCredential(credential, `${labelOf(credential)} is a vault reference, taken as plain text`)
    for (const plugin of config.plugins) {
      const path = unresolvedIn(plugin.config, 'config', UNRESOLVED_PLUGINS.has(plugin.name))
      if (path !== undefined)
        yield {
          place: plugin.place,
          what: `${plugin.name} has a vault reference in ${path}, taken as plain text`,
          on: [plugin],
        }
    }
  },
}

function unresolvedIn(value: unknown, path: string, anywhere: boolean): string | undefined {
  if (typeof value === 'string')
    return value.includes('{vault://') && (anywhere || !/^\{vault:\/\/[^{}]+\}$/.test(value)) ? path : undefined
  const members = Array.isArray(value) ? value.map((item, index) => [`[${index}]`, item] as const) : membersOf(value)
  for (const [key, member] of members) {
    const found = unresolvedIn(member, path + key, anywhere)
    if (found !== undefined) return found
  }
  return undefined
}

const MAX_AGE_DAYS = 90

/** When a key was issued, in epoch milliseconds: by its tags, the first day as llm-api-key counts, or what Kong noted. */
function issuedAt({ tags, raw }: { readonly tags: readonly string[]; readonly raw: Raw }): number | undefined {
  const told = tags
    .filter((tag) => tag.startsWith(TAGS.issued))
    .flatMap((tag) => parseDate(tag.slice(TAGS.issued.length)) ?? [])
  if (told.length > 0) return Math.min(...told)
  return typeof raw.created_at === 'number' ? raw.created_at * 1000 : undefined
}

export const keyTooOld: Rule = {
  id: 'key-too-old',
  severity: 'warning',
  title: `A key older than ${MAX_AGE_DAYS} days`,
  why: 'The longer a key lives, the more places it has leaked to.',
  fix: 'Rotate it with `portcullis keys rotate`, a secret of another kind by hand, and let llm-api-key enforce the age.',
  *find({ config, now }) {
    for (const credential of config.credentials) {
      const issued = issuedAt(credential)
      const days = issued === undefined ? 0 : Math.floor((now - issued) / DAY_MS)
      if (days > MAX_AGE_DAYS) yield ofCredential(credential, `${labelOf(credential)} is ${days} days old`)
    }
  },
}
