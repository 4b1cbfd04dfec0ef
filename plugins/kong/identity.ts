/** Whom the key of a request belongs to, as the plugin that found out tells those after it: JSON text in its entry. */

import type { Consumer, Credential, Identity } from '../../policies/policy.ts'
import { entryKey, isObject, malformed } from './shared-context.ts'

/**
 * From the entry of an earlier plugin; undefined when it did not run or saw no key of its own.
 * @throws {PortcullisError} `kong_context_malformed` naming the field, never its value.
 */
export function readIdentity(plugin: string, entry: unknown): Identity | undefined {
  if (entry === undefined || entry === null) return undefined
  if (!isObject(entry)) throw malformed(entryKey(plugin))
  return readIdentityText(entry.identity, `${entryKey(plugin)}.identity`)
}

/** @throws {PortcullisError} `kong_context_malformed` naming the field, never its value. */
export function readIdentityText(value: unknown, at: string): Identity | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw malformed(at)
  let parsed: unknown
  try {
    parsed = JSON.parse(value)
  } catch {
    throw malformed(at)
  }
  if (!isObject(parsed) || !isConsumer(parsed.consumer) || !isCredential(parsed.credential)) throw malformed(at)
  return { consumer: parsed.consumer, credential: parsed.credential }
}

function isConsumer(value: unknown): value is Consumer {
  if (!isObject(value)) return false
  const { id, username, customId, tags, groups } = value
  return typeof id === 'string' && id !== '' && isText(username) && isText(customId) && isTexts(tags) && isTexts(groups)
}

function isCredential(value: unknown): value is Credential {
  if (!isObject(value)) return false
  const { id, createdAt, tags, fingerprint, scopes } = value
  const known = isText(id) && isText(fingerprint) && isTexts(tags)
  return (
    known && (createdAt === undefined || typeof createdAt === 'number') && (scopes === undefined || isTexts(scopes))
  )
}

function isText(value: unknown): boolean {
  return value === undefined || typeof value === 'string'
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}
