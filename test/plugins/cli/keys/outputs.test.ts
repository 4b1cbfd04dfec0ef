import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createRegistryBackend } from '../../../../plugins/cli/keys/backends/registry.ts'
import { createHttpClient } from '../../../../plugins/cli/keys/http.ts'
import { createMint } from '../../../../plugins/cli/keys/minting.ts'
import { createFileOutput } from '../../../../plugins/cli/keys/outputs/file.ts'
import { createVaultOutput } from '../../../../plugins/cli/keys/outputs/vault.ts'
import { createVaultKv } from '../../../../plugins/cli/keys/outputs/vault-kv.ts'
import type { StagedSecret } from '../../../../plugins/cli/keys/ports.ts'
import { planRotation, runRotation } from '../../../../plugins/cli/keys/rotation.ts'
import { createMemoryRegistry } from '../../../../policies/api-key/index.ts'
import { startVault, VAULT_TOKEN } from '../../../support/vault/server.ts'
import { DAY, START, temporaryFolder, testWorld } from './support.ts'

function secret(text = 'pc_the-secret', id = 'Id1', owner = 'ann'): StagedSecret {
  return { id, owner, issuedAt: START, reveal: () => text }
}

describe('a file', () => {
  it('is made for its owner alone, and takes a line for each secret', async () => {
    const path = join(temporaryFolder(), 'keys')
    const output = await createFileOutput(path, 'json')
    await output.deliver(secret())
    await output.deliver(secret('other', 'Id2'))
    await output.close()
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const lines = readFileSync(path, 'utf8').trim().split('\n')
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { id: 'Id1', consumer: 'ann', key: 'pc_the-secret' },
      { id: 'Id2', key: 'other' },
    ])
  })

  it('is gone again when nothing came', async () => {
    const path = join(temporaryFolder(), 'keys')
    await (await createFileOutput(path, 'key')).close()
    expect(existsSync(path)).toBe(false)
  })

  it('is neither overwritten nor reached through a link', async () => {
    const folder = temporaryFolder()
    const [there, link] = [join(folder, 'there'), join(folder, 'link')]
    writeFileSync(there, 'mine')
    symlinkSync(join(folder, 'elsewhere'), link)
    for (const path of [there, link])
      await expect(createFileOutput(path, 'key')).rejects.toMatchObject({ code: 'file_exists' })
    await expect(createFileOutput(join(folder, 'no', 'folder'), 'key')).rejects.toThrow('is not there')
    expect(readFileSync(there, 'utf8')).toBe('mine')
  })
})

/** Against a stand-in of the documented HTTP API, no Vault. */
describe('Vault', () => {
  async function open(template = 'llm/{consumer}/{id}', mount = 'secret', namespace?: string) {
    const vault = await startVault(mount)
    onTestFinished(() => vault.close())
    const kv = createVaultKv({
      address: vault.url,
      token: VAULT_TOKEN,
      mount,
      ...(namespace === undefined ? {} : { namespace }),
    })
    return { vault, kv, output: createVaultOutput(kv, template), again: () => createVaultOutput(kv, template) }
  }

  it('gets one secret for each key', async () => {
    const { vault, output } = await open('llm/{consumer}/{id}', 'team/kv', 'ns1')
    await output.deliver(secret())
    expect(vault.secrets.get('llm/ann/Id1')).toEqual([
      { data: { id: 'Id1', consumer: 'ann', issued_at: '2026-06-01T12:00:00.000Z', key: 'pc_the-secret' } },
    ])
    expect(vault.lastHeaders).toMatchObject({ 'x-vault-token': VAULT_TOKEN, 'x-vault-namespace': 'ns1' })
  })

  it('gets a new version of the same key, and none for the same secret', async () => {
    const { vault, output, again } = await open()
    await output.deliver(secret())
    await again().deliver(secret())
    expect(vault.secrets.get('llm/ann/Id1')).toHaveLength(1)
    await again().deliver(secret('pc_second'))
    expect(vault.secrets.get('llm/ann/Id1')?.map(({ data }) => data?.key)).toEqual(['pc_the-secret', 'pc_second'])
  })

  it('takes a path again whose secret was deleted', async () => {
    const { vault, output } = await open()
    vault.secrets.set('llm/ann/Id1', [{ data: { id: 'Id1', key: 'a' } }, {}])
    await output.deliver(secret())
    expect(vault.secrets.get('llm/ann/Id1')).toHaveLength(3)
  })

  it.each([
    ['what somebody else keeps there', { password: 'hunter2' }],
    ['what has more fields', { id: 'Id1', key: 'a', password: 'hunter2' }],
    ['another key', { id: 'Id9', key: 'a' }],
  ])('does not overwrite %s', async (_, data) => {
    const { vault, output } = await open()
    vault.secrets.set('llm/ann/Id1', [{ data }])
    await expect(output.deliver(secret())).rejects.toMatchObject({ code: 'vault_conflict' })
    expect(vault.secrets.get('llm/ann/Id1')).toEqual([{ data }])
  })

  it('refuses when somebody else wrote meanwhile', async () => {
    const { vault, output } = await open()
    vault.beforeWrite = (path) => void vault.secrets.set(path, [{ data: { id: 'Id1', key: 'theirs' } }])
    await expect(output.deliver(secret())).rejects.toMatchObject({ code: 'vault_conflict' })
    expect(vault.secrets.get('llm/ann/Id1')).toEqual([{ data: { id: 'Id1', key: 'theirs' } }])
  })

  it('keeps two keys of one consumer apart', async () => {
    const { output } = await open('llm/{consumer}')
    await output.deliver(secret())
    await expect(output.deliver(secret('b', 'Id2'))).rejects.toMatchObject({ code: 'vault_conflict' })
    await expect(open('llm/shared')).rejects.toMatchObject({ code: 'invalid_argument' })
  })

  it('makes one path segment of any name, and two of two names', async () => {
    const { vault, output } = await open('llm/{consumer}')
    const owners = ['a/b', '../a', 'a b', 'é', 'a~b', '.', 'a?x#y']
    for (const [index, owner] of owners.entries()) await output.deliver(secret('x', `Id${index}`, owner))
    const paths = [...vault.secrets.keys()]
    expect(paths).toHaveLength(owners.length)
    expect(paths.every((path) => /^llm\/[\w~-]+$/.test(path))).toBe(true)
  })

  it.each([
    ['a refused token', 403, {}, 'may not'],
    ['a sealed Vault', 503, {}, 'sealed'],
    ['a redirection', 307, { location: 'http://127.0.0.1:9/' }, 'redirects'],
    ['an engine of version 1', 200, {}, 'version 2'],
    ['a fault', 500, {}, '500'],
  ])('says what is wrong: %s', async (_, status, headers, message) => {
    const { vault, output } = await open()
    vault.intercept = () => ({ status, headers, body: { errors: [`echo ${VAULT_TOKEN} pc_the-secret`] } })
    const failed = output.deliver(secret())
    await expect(failed).rejects.toThrow(message)
    await expect(failed).rejects.not.toThrow(/hvs|the-secret/)
  })

  it('is reached with TLS, or on this machine', () => {
    const options = (address: string) => ({ address, token: 'hvs.x', mount: 'secret' })
    expect(() => createVaultKv(options('http://vault.test:8200'))).toThrow('https')
    expect(() => createVaultKv(options('https://user:hunter2@vault.test'))).toThrow('user or password')
    expect(() => createVaultKv({ ...options('https://vault.test'), token: 'a\nb' })).toThrow('token of Vault')
    expect(() => createVaultKv(options('https://vault.test'))).not.toThrow()
  })

  it('gives back what a run that was killed left there, so that the registry takes it', async () => {
    const { vault, again } = await open()
    const world = testWorld()
    const registry = createMemoryRegistry()
    const backend = () =>
      createRegistryBackend({
        registry,
        pepper: () => 'pepper '.repeat(6),
        env: 'live',
        mint: createMint('live', world.random),
        clock: world.clock,
        random: world.random,
      })
    const first = backend()
    const issued = await first.issue({ owner: 'ann', tags: [] })
    await first.confirm([issued], world.now)
    world.now += 70 * DAY
    const killed = backend()
    const [staged] = await killed.stage(await killed.list(), again().held)
    if (staged === undefined) throw new Error('nothing staged')
    await again().deliver(staged)
    world.now += 1000
    const next = backend()
    const steps = planRotation(await next.list(), { issuedBefore: world.now - DAY, unknownAge: false, now: world.now })
    const [done] = await runRotation({
      backend: next,
      output: again(),
      steps,
      retireAt: world.now + DAY,
      progress() {},
    })
    expect(done?.reveal()).toBe(staged.reveal())
    expect(vault.secrets.get(`llm/ann/${issued.id}`)).toHaveLength(1)
    // What Vault has held since before the current secret is not to come back.
    world.now += 70 * DAY
    const later = backend()
    const [fresh] = await later.stage(await later.list(), again().held)
    expect(fresh?.reveal()).not.toBe(staged.reveal())
  })
})

describe('the HTTP client', () => {
  it('quotes neither address nor cause when nobody answers', async () => {
    const http = createHttpClient({
      subject: 'it',
      address: 'http://127.0.0.1:1/path',
      headers: { 'x-token': 'hunter2' },
    })
    const failed = http.send('POST', '/x', { key: 'pc_the-secret' })
    await expect(failed).rejects.toMatchObject({ code: 'unreachable', message: 'it cannot be reached' })
  })
})
