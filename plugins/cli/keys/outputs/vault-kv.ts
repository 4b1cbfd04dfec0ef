/**
 * The two calls of Vault's KV version 2 HTTP API that are needed: read, and write with check-and-set.
 * https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2
 */

import { PortcullisError } from '../../../../policies/errors.ts'
import { isObject, type JsonObject } from '../../../../policies/llm/json.ts'
import { createHttpClient, type HttpReply } from '../http.ts'

export interface VaultSecret {
  /** Absent where nothing is, or its last version was deleted. */
  readonly data?: JsonObject
  /** To write with: 0 where there never was anything. */
  readonly version: number
}

export interface VaultKv {
  readonly address: string
  read(path: string): Promise<VaultSecret>
  /** @throws {PortcullisError} `vault_conflict` when somebody else wrote since `version`. */
  write(path: string, data: JsonObject, version: number): Promise<void>
}

export interface VaultOptions {
  /** `VAULT_ADDR` */
  readonly address: string
  /** `VAULT_TOKEN` */
  readonly token: string
  /** `VAULT_NAMESPACE` */
  readonly namespace?: string
  /** Where the engine is mounted. */
  readonly mount: string
}

export function createVaultKv({ address, token, namespace, mount }: VaultOptions): VaultKv {
  const http = createHttpClient({
    subject: 'Vault',
    address,
    headers: {
      'x-vault-token': token,
      'x-vault-request': 'true',
      ...(namespace === undefined ? {} : { 'x-vault-namespace': namespace }),
    },
  })
  const pathOf = (path: string) => `/v1/${segments(mount)}/data/${segments(path)}`
  return {
    address: http.origin,
    async read(path) {
      const reply = await http.send('GET', pathOf(path))
      const found = isObject(reply.body) && isObject(reply.body.data) ? reply.body.data : undefined
      const version = isObject(found?.metadata) ? found.metadata.version : undefined
      // A deleted version is a 404 that still says which version it was.
      if (reply.status === 404) return { version: typeof version === 'number' ? version : 0 }
      if (reply.status !== 200) throw refused(reply, path)
      if (typeof version !== 'number')
        throw new PortcullisError('vault_refused', `Vault: ${mount} is no KV engine of version 2`)
      return { version, ...(isObject(found?.data) ? { data: found.data } : {}) }
    },
    async write(path, data, version) {
      const reply = await http.send('POST', pathOf(path), { data, options: { cas: version } })
      if (reply.status === 400 && mentions(reply, 'check-and-set'))
        throw new PortcullisError('vault_conflict', `${path} in Vault: was changed by somebody else meanwhile`)
      if (reply.status !== 200) throw refused(reply, path)
      if (!isObject(reply.body) || !isObject(reply.body.data) || typeof reply.body.data.version !== 'number')
        throw new PortcullisError('vault_refused', `Vault: ${mount} is no KV engine of version 2`)
    },
  }
}

function segments(path: string): string {
  const parts = path.split('/').filter((part) => part !== '')
  if (parts.length === 0 || parts.some((part) => part === '.' || part === '..' || /[\p{Cc}?#]/u.test(part)))
    throw new PortcullisError('invalid_argument', 'the path in Vault is malformed')
  return parts.map(encodeURIComponent).join('/')
}

function mentions({ body }: HttpReply, text: string): boolean {
  const errors = isObject(body) && Array.isArray(body.errors) ? body.errors : []
  return errors.some((error) => typeof error === 'string' && error.includes(text))
}

/** Never quotes the reply: what a server says about a request may repeat it. */
function refused({ status }: HttpReply, path: string): PortcullisError {
  const why =
    status === 403
      ? 'the token may not do that'
      : status === 503
        ? 'Vault is sealed or in maintenance'
        : `answered ${status}`
  return new PortcullisError('vault_refused', `${path} in Vault: ${why}`)
}
