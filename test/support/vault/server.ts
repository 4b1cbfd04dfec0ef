/**
 * A stand-in for HashiCorp Vault, no Vault: read and write of a KV engine of version 2, as documented at
 * https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 (check-and-set, 404 with metadata for a deleted version).
 */

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface StoredVersion {
  /** Absent once deleted. */
  readonly data?: Readonly<Record<string, unknown>>
}

export interface VaultStandIn {
  readonly url: string
  /** By path below the mount. */
  readonly secrets: Map<string, StoredVersion[]>
  lastHeaders: Readonly<Record<string, string | string[] | undefined>>
  /** Runs before a write is looked at. */
  beforeWrite?: (path: string) => void
  /** Answers instead. */
  intercept?: () => { status: number; headers?: Record<string, string>; body?: unknown } | undefined
  close(): Promise<void>
}

export const VAULT_TOKEN = 'hvs.CAESIJ-test-token'

/** @param mount of the KV engine */
export async function startVault(mount = 'secret'): Promise<VaultStandIn> {
  const secrets = new Map<string, StoredVersion[]>()

  function answer(method: string, url: string, token: unknown, body: string): { status: number; body?: unknown } {
    if (token !== VAULT_TOKEN) return { status: 403, body: { errors: ['permission denied'] } }
    const prefix = `/v1/${mount}/data/`
    if (!url.startsWith(prefix)) return { status: 404, body: { errors: [`no handler for route "${url}"`] } }
    const path = decodeURIComponent(url.slice(prefix.length))
    if (method === 'GET') {
      const versions = secrets.get(path) ?? []
      const data = versions.at(-1)?.data
      if (versions.length === 0) return { status: 404, body: { errors: [] } }
      const metadata = {
        version: versions.length,
        destroyed: false,
        deletion_time: data === undefined ? '2026-01-01' : '',
      }
      return { status: data === undefined ? 404 : 200, body: { data: { data: data ?? null, metadata } } }
    }
    standIn.beforeWrite?.(path)
    const versions = secrets.get(path) ?? []
    const { data, options } = JSON.parse(body) as { data: Record<string, unknown>; options?: { cas?: number } }
    if (options?.cas !== undefined && options.cas !== versions.length)
      return { status: 400, body: { errors: ['check-and-set parameter did not match the current version'] } }
    secrets.set(path, [...versions, { data }])
    return { status: 200, body: { data: { version: versions.length + 1, created_time: '2026-06-01T00:00:00Z' } } }
  }

  const server = createServer(async (request, response) => {
    standIn.lastHeaders = request.headers
    const chunks: Uint8Array[] = []
    for await (const chunk of request) chunks.push(chunk as Uint8Array)
    const instead = standIn.intercept?.()
    const reply =
      instead ??
      answer(
        request.method ?? 'GET',
        request.url ?? '/',
        request.headers['x-vault-token'],
        Buffer.concat(chunks).toString(),
      )
    response.writeHead(reply.status, { 'content-type': 'application/json', ...instead?.headers })
    response.end(JSON.stringify(reply.body ?? {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const standIn: VaultStandIn = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    secrets,
    lastHeaders: {},
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return standIn
}
