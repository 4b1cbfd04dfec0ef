/** New secrets in HashiCorp Vault, one KV version 2 secret for each key. */

import { PortcullisError } from '../../../../policies/errors.ts'
import type { SecretOutput, StagedSecret } from '../ports.ts'
import { fieldsOf } from './line.ts'
import type { VaultKv, VaultSecret } from './vault-kv.ts'

const OURS = new Set(['id', 'consumer', 'issued_at', 'expires_at', 'key'])

/**
 * Writes with check-and-set on the version that was seen first: of two runs at a time only one delivers.
 * @param template path below the mount, in which `{id}` and `{consumer}` are filled in
 */
export function createVaultOutput(kv: VaultKv, template: string): SecretOutput {
  if (!template.includes('{id}') && !template.includes('{consumer}'))
    throw new PortcullisError('invalid_argument', '--vault-path: name {id} or {consumer}, or keys overwrite each other')
  const seen = new Map<string, VaultSecret>()
  const written = new Map<string, string>()

  async function look(path: string): Promise<VaultSecret> {
    const found = seen.get(path) ?? (await kv.read(path))
    seen.set(path, found)
    return found
  }

  return {
    name: `Vault at ${kv.address}`,
    isStdout: false,
    async held({ id, owner }) {
      const { data } = await look(fill(template, { id, owner }))
      if (data?.id !== id || typeof data.key !== 'string' || typeof data.issued_at !== 'string') return undefined
      return { text: data.key, issuedAt: Date.parse(data.issued_at) }
    },
    async deliver(secret) {
      const path = fill(template, secret)
      if ((written.get(path) ?? secret.id) !== secret.id)
        throw new PortcullisError('vault_conflict', `${path} in Vault: two keys would go there; use {id} in the path`)
      const { data, version } = await look(path)
      if (data !== undefined) assertOurs(data, secret, path)
      written.set(path, secret.id)
      if (data?.key === secret.reveal()) return
      await kv.write(path, fieldsOf(secret), version)
    },
    async flush() {},
    async close() {},
  }
}

/** What somebody else keeps there is not overwritten. */
function assertOurs(data: Readonly<Record<string, unknown>>, { id }: StagedSecret, path: string): void {
  const foreign = Object.keys(data).some((field) => !OURS.has(field))
  if (foreign || data.id !== id)
    throw new PortcullisError('vault_conflict', `${path} in Vault: holds something else, which is not overwritten`)
}

function fill(template: string, { id, owner }: Pick<StagedSecret, 'id' | 'owner'>): string {
  return template.replaceAll('{id}', segment(id)).replaceAll('{consumer}', segment(owner))
}

/** One path segment whatever a consumer is called; `~` marks what was replaced, so that two names stay two. */
function segment(name: string): string {
  return name.replace(/[^A-Za-z0-9_-]/gu, (char) => `~${char.codePointAt(0)?.toString(16)}~`)
}
