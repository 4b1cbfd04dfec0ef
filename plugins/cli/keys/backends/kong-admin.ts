/**
 * The calls of Kong's Admin API that keys need (kong/api/endpoints.lua and plugins/key-auth/daos.lua of 3.9).
 * https://developer.konghq.com/plugins/key-auth/
 */

import { PortcullisError } from '../../../../policies/errors.ts'
import { isObject, type JsonObject } from '../../../../policies/llm/json.ts'
import { createHttpClient, type HttpReply } from '../http.ts'

export interface AdminCredential {
  readonly id: string
  readonly consumerId: string
  readonly key: string
  readonly tags: readonly string[]
  /** Epoch seconds; in DB-less mode the time the config was loaded. */
  readonly createdAt: number
}

export interface AdminConsumer {
  readonly id: string
  readonly name: string
}

export interface KongAdmin {
  readonly address: string
  /** Whether what it shows is from a file, and cannot be changed here. */
  isReadOnly(): Promise<boolean>
  consumers(): Promise<readonly AdminConsumer[]>
  /** By id or user name. */
  consumer(name: string): Promise<AdminConsumer | undefined>
  credentials(): Promise<readonly AdminCredential[]>
  credential(consumerId: string, id: string): Promise<AdminCredential | undefined>
  /** False when there is one of that id already. */
  create(credential: Pick<AdminCredential, 'id' | 'consumerId' | 'key' | 'tags'>): Promise<boolean>
  /** False when it is gone. */
  setTags(credential: Pick<AdminCredential, 'id' | 'consumerId'>, tags: readonly string[]): Promise<boolean>
  remove(credential: Pick<AdminCredential, 'id' | 'consumerId'>): Promise<void>
}

export interface KongAdminOptions {
  readonly address: string
  /** Whoever guards the Admin API wants to see it. */
  readonly token?: string
  /** Of the request, in lower case. */
  readonly tokenHeader: string
  readonly allowHttp: boolean
}

const PAGE = 1_000
/** Ten million credentials: a server that never ends its list is none. */
const MAX_PAGES = 10_000

export function createKongAdmin({ address, token, tokenHeader, allowHttp }: KongAdminOptions): KongAdmin {
  const http = createHttpClient({
    subject: 'the Admin API',
    address,
    headers: token === undefined ? {} : { [tokenHeader]: token },
    allowHttp,
  })

  async function all<T>(path: string, read: (item: JsonObject) => T): Promise<readonly T[]> {
    const found: T[] = []
    let offset: string | undefined
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const reply = await http.send(
        'GET',
        `${path}?size=${PAGE}${offset === undefined ? '' : `&offset=${encodeURIComponent(offset)}`}`,
      )
      if (reply.status !== 200 || !isObject(reply.body)) throw refused('GET', path, reply)
      const { data, offset: next } = reply.body
      // An empty page is `{}` where Lua cannot tell a list from a map.
      if (Array.isArray(data)) for (const item of data) found.push(read(object(item)))
      if (typeof next !== 'string') return found
      if (next === offset) break
      offset = next
    }
    throw new PortcullisError('bad_reply', `the Admin API never ends its list of ${path}`)
  }

  const pathOf = ({ consumerId, id }: Pick<AdminCredential, 'id' | 'consumerId'>) =>
    `/consumers/${encodeURIComponent(consumerId)}/key-auth/${encodeURIComponent(id)}`

  return {
    address: http.origin,
    async isReadOnly() {
      const reply = await http.send('GET', '/status')
      if (reply.status !== 200 || !isObject(reply.body)) throw refused('GET', '/status', reply)
      return typeof reply.body.configuration_hash === 'string'
    },
    consumers: () => all('/consumers', readConsumer),
    async consumer(name) {
      const reply = await http.send('GET', `/consumers/${encodeURIComponent(name)}`)
      if (reply.status === 404) return undefined
      if (reply.status !== 200) throw refused('GET', '/consumers/...', reply)
      return readConsumer(object(reply.body))
    },
    credentials: () => all('/key-auths', readCredential),
    async credential(consumerId, id) {
      const reply = await http.send('GET', pathOf({ consumerId, id }))
      if (reply.status === 404) return undefined
      if (reply.status !== 200) throw refused('GET', 'key-auth', reply)
      return readCredential(object(reply.body))
    },
    async create({ id, consumerId, key, tags }) {
      const path = `/consumers/${encodeURIComponent(consumerId)}/key-auth`
      const reply = await http.send('POST', path, { id, key, tags })
      if (reply.status === 201) return true
      // Kong calls it a violation of the key, also where only the id is taken.
      if (reply.status === 409) return false
      throw refused('POST', 'key-auth', reply)
    },
    async setTags(credential, tags) {
      const reply = await http.send('PATCH', pathOf(credential), { tags })
      if (reply.status === 200) return true
      if (reply.status === 404) return false
      throw refused('PATCH', 'key-auth', reply)
    },
    async remove(credential) {
      const reply = await http.send('DELETE', pathOf(credential))
      if (reply.status !== 204 && reply.status !== 404) throw refused('DELETE', 'key-auth', reply)
    },
  }
}

function readConsumer({ id, username, custom_id: customId }: JsonObject): AdminConsumer {
  if (typeof id !== 'string') throw malformed()
  const name = [username, customId].find((each) => typeof each === 'string' && each !== '')
  return { id, name: typeof name === 'string' ? name : id }
}

function readCredential({ id, key, tags, consumer, created_at: createdAt }: JsonObject): AdminCredential {
  const consumerId = isObject(consumer) ? consumer.id : undefined
  if (typeof id !== 'string' || typeof key !== 'string' || typeof consumerId !== 'string') throw malformed()
  if (typeof createdAt !== 'number') throw malformed()
  const list = Array.isArray(tags) ? tags : []
  if (!list.every((tag) => typeof tag === 'string')) throw malformed()
  return { id, consumerId, key, tags: list, createdAt }
}

function object(value: unknown): JsonObject {
  if (isObject(value)) return value
  throw malformed()
}

function malformed(): PortcullisError {
  return new PortcullisError('bad_reply', 'the Admin API answers with what is no Kong’s')
}

/** Never quotes the reply, which may repeat a key. */
function refused(method: string, path: string, { status }: HttpReply): PortcullisError {
  const why =
    status === 405
      ? 'this Kong runs without a database: change its declarative file with --file, then load it'
      : status === 401 || status === 403
        ? `refuses the token (${status})`
        : `answers ${status} to ${method} ${path}`
  return new PortcullisError('admin_refused', `the Admin API: ${why}`)
}
