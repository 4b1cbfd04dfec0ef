/** Reads a running Kong's configuration from its Admin API, page by page. Only GET, and only from the given origin. */

import { PortcullisError } from '../../../policies/errors.ts'
import { MAX_FILE_BYTES, type Places } from './document.ts'
import { EntityCollector, type KongConfig } from './entities.ts'
import { type Environment, environmentOf } from './environment.ts'
import { isRaw, memberAt, type Raw, text } from './place.ts'

const MAX_PAGES = 1000
const PAGE_SIZE = 1000
const MAX_ROWS = 500_000
const TIMEOUT_MS = 10_000

const CREDENTIAL_PATHS = {
  'key-auths': 'keyauth_credentials',
  jwts: 'jwt_secrets',
  'basic-auths': 'basicauth_credentials',
  'hmac-auths': 'hmacauth_credentials',
  oauth2: 'oauth2_credentials',
} as const

export interface AdminApi {
  readonly url: string
  /** Sent with every request, such as a token. */
  readonly headers: Readonly<Record<string, string>>
  /** Ends all of it, however promptly every page comes. */
  readonly deadline: AbortSignal
}

/** @throws {PortcullisError} `unreachable_admin` when a list cannot be read whole. */
export async function readAdminApi(admin: AdminApi, places: Places): Promise<KongConfig> {
  const base = baseOf(admin.url)
  const shown = base.href.replace(/\/$/, '')
  const lists = async (path: string, optional = false): Promise<readonly Raw[]> => {
    const rows = await readList(base, path, admin, optional)
    for (const row of rows) places.note(row, { file: `${shown}/${path}/${text(row.id) ?? ''}` })
    return rows
  }
  const collector = new EntityCollector((value) => places.of(value) ?? { file: shown })
  const services = await lists('services')
  for (const raw of await lists('upstreams', true))
    collector.upstream(raw, await lists(`upstreams/${encodeURIComponent(text(raw.id) ?? '')}/targets`, true))
  for (const raw of services) collector.service(raw)
  for (const raw of await lists('routes')) collector.route(raw, raw.service)
  for (const raw of await lists('consumers')) collector.consumer(raw)
  for (const raw of await lists('plugins')) collector.plugin(raw, raw.config)
  for (const [path, type] of Object.entries(CREDENTIAL_PATHS))
    for (const raw of await lists(path, true)) collector.credential(type, raw, raw.consumer)
  return collector.finish(false)
}

/** The settings with which the node that answers was started, or why they are not to be known. */
export type Settings = { readonly environment: Environment } | { readonly whyUnknown: string }

/** Kong 3.9 without llm-edge answers 500 as long as it runs a plugin server itself. @throws as {@link readAdminApi} does. */
export async function readSettings(admin: AdminApi): Promise<Settings> {
  const base = baseOf(admin.url)
  const reply = await get(base, '', admin)
  const configuration = memberAt(parsed(await bounded(reply, '')), 'configuration')
  if (!reply.ok || !isRaw(configuration))
    return {
      whyUnknown: `the Admin API does not tell the variables of Kong (GET / is ${reply.status}, as it is in Kong 3.9 with a plugin server that Kong started, and without llm-edge)`,
    }
  if (configuration.role === 'control_plane')
    return { whyUnknown: 'a control plane does not know the variables of the data planes' }
  return { environment: environmentOf(configuration, base.href) }
}

function baseOf(url: string): URL {
  const base = new URL(url.endsWith('/') ? url : `${url}/`)
  if (base.username !== '' || base.password !== '' || base.search !== '' || base.hash !== '')
    throw new PortcullisError('bad_admin_url', 'give the Admin API’s URL without user, password or query')
  return base
}

async function readList(base: URL, path: string, admin: AdminApi, optional: boolean): Promise<readonly Raw[]> {
  const rows: Raw[] = []
  const seen = new Set<string>()
  let next: URL | undefined = new URL(`${path}?size=${PAGE_SIZE}`, base)
  while (next !== undefined) {
    if (seen.has(next.href) || seen.size >= MAX_PAGES) throw unreachable(path, 'its pages do not end')
    seen.add(next.href)
    const page = await readPage(next, path, admin, optional)
    if (page === undefined) return rows
    for (const row of page.data) rows.push(row)
    if (rows.length > MAX_ROWS) throw unreachable(path, `it has more than ${MAX_ROWS} entries`)
    next = following(page.next, next, base, path)
  }
  return rows
}

function following(next: unknown, current: URL, base: URL, path: string): URL | undefined {
  if (typeof next !== 'string' || next === '') return undefined
  if (!URL.canParse(next, current.href)) throw unreachable(path, 'its next page is no address')
  // Kong leaves out the prefix under which a proxy offers it.
  const url = new URL(path + new URL(next, current).search, base)
  if (new URL(next, current).origin !== base.origin) throw unreachable(path, 'its next page is on another host')
  return url
}

interface Page {
  readonly data: readonly Raw[]
  readonly next: unknown
}

async function readPage(url: URL, path: string, admin: AdminApi, optional: boolean): Promise<Page | undefined> {
  const reply = await get(url, path, admin)
  // The list of a plugin that Kong has not loaded.
  if (reply.status === 404 && optional) return undefined
  if (!reply.ok) throw unreachable(path, `status ${reply.status}`)
  const page = parsed(await bounded(reply, path))
  if (!isRaw(page) || !Array.isArray(page.data) || !page.data.every(isRaw))
    throw unreachable(path, 'the answer is no list of an Admin API')
  return { data: page.data, next: page.next }
}

async function get(url: URL, path: string, { headers, deadline }: AdminApi): Promise<Response> {
  const signal = AbortSignal.any([deadline, AbortSignal.timeout(TIMEOUT_MS)])
  try {
    return await fetch(url, { headers, redirect: 'manual', signal })
  } catch (error) {
    throw unreachable(path, whyUnanswered(error))
  }
}

/** Such as ECONNREFUSED, or what is wrong with a certificate; never the message, which may quote a header. */
function whyUnanswered(error: unknown): string {
  if (!(error instanceof Error)) return 'no answer'
  const { code } = (error.cause ?? {}) as { readonly code?: unknown }
  return typeof code === 'string' ? code : error.name
}

async function bounded(reply: Response, path: string): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of reply.body ?? []) {
      size += chunk.length
      if (size > MAX_FILE_BYTES) break
      chunks.push(chunk)
    }
  } catch (error) {
    throw unreachable(path, whyUnanswered(error))
  }
  if (size > MAX_FILE_BYTES) throw unreachable(path, 'the answer is too large')
  return Buffer.concat(chunks).toString('utf8')
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    // Refused by the caller, like every other answer that is no list.
    return undefined
  }
}

function unreachable(path: string, why: string): PortcullisError {
  return new PortcullisError('unreachable_admin', `could not read /${path} of the Admin API: ${why}`)
}
