/** Opens the backend and the output that a command line names. */

import { type Command, Option } from 'commander'
import { PortcullisError } from '../../../policies/errors.ts'
import type { Clock, Random } from '../../../policies/policy.ts'
import type { Io } from '../io.ts'
import { addRedisOptions, type RedisOptions, readRedis } from '../redis-options.ts'
import type { LineFormat } from './outputs/line.ts'
import type { KeyBackend, SecretOutput } from './ports.ts'

export interface World {
  readonly clock: Clock
  readonly random: Random
}

export interface BackendOptions extends RedisOptions {
  readonly file?: string
  readonly kongAdmin?: string
  readonly kongTokenHeader: string
  readonly kongAllowHttp?: true
  readonly pepperFile?: string
  readonly env?: string
}

export interface OutputOptions {
  readonly out?: string
  readonly vaultPath?: string
  readonly vaultMount: string
}

const PEPPER = 'PORTCULLIS_KEY_PEPPER'
const LEAST_PEPPER = 32

export function addBackendOptions(command: Command): Command {
  command
    .option('--file <path>', 'keys in a declarative file of Kong (DB-less mode, deck)')
    .option('--kong-admin <url>', 'keys of a running Kong with a database, through its Admin API')
    .addOption(
      new Option('--kong-token-header <name>', 'request header in which KONG_ADMIN_TOKEN is sent').default(
        'kong-admin-token',
      ),
    )
    .option('--kong-allow-http', 'reach the Admin API without TLS beyond this machine: whoever is on the way sees keys')
    .option('--pepper-file <path>', `file with the registry’s pepper; else ${PEPPER}`)
  return addRedisOptions(command)
}

export function addOutputOptions(command: Command): Command {
  return command
    .option('--out <file>', 'write new secrets to a new file of mode 0600 instead of standard output')
    .option(
      '--vault-path <path>',
      'write each new secret to HashiCorp Vault (KV version 2, VAULT_ADDR and VAULT_TOKEN), such as llm/{consumer}/{id}',
    )
    .addOption(new Option('--vault-mount <path>', 'where Vault’s KV engine is mounted').default('secret'))
}

/** @throws {PortcullisError} */
export async function openBackend(options: BackendOptions, io: Pick<Io, 'env'>, world: World): Promise<KeyBackend> {
  const { createMint } = await import('./minting.ts')
  const { clock, random } = world
  const env = options.env ?? 'live'
  const mint = createMint(env, random)
  if (options.file !== undefined && options.kongAdmin !== undefined)
    throw new PortcullisError('invalid_argument', 'either --file or --kong-admin, not both')
  if (options.file !== undefined) {
    const { openDeckFile } = await import('./backends/deck-file.ts')
    return openDeckFile({ path: options.file, mint, clock })
  }
  if (options.kongAdmin !== undefined) {
    const { createKongAdmin } = await import('./backends/kong-admin.ts')
    const { createKongBackend } = await import('./backends/kong.ts')
    const token = io.env.KONG_ADMIN_TOKEN
    if (!/^[a-z0-9-]{1,64}$/i.test(options.kongTokenHeader))
      throw new PortcullisError('invalid_argument', '--kong-token-header: is no name of a header')
    const admin = createKongAdmin({
      address: options.kongAdmin,
      tokenHeader: options.kongTokenHeader,
      allowHttp: options.kongAllowHttp === true,
      ...(token === undefined || token === '' ? {} : { token }),
    })
    return createKongBackend({ admin, mint, clock })
  }
  const redis = await readRedis(options)
  const pepper = await readPepper(options, io)
  const { createRedisRegistry } = await import('../../../policies/api-key/redis-registry.ts')
  const { createRegistryBackend } = await import('./backends/registry.ts')
  const registry = createRedisRegistry(redis, { clock, random, logger: SILENT })
  return createRegistryBackend({ registry, pepper, env, mint, clock, random })
}

/** What goes wrong is thrown by the operation itself. */
export const SILENT = { info() {}, warn() {}, error() {} }

async function readPepper({ pepperFile }: BackendOptions, io: Pick<Io, 'env'>): Promise<() => string> {
  const { readPrivate } = await import('./files.ts')
  const given = pepperFile === undefined ? io.env[PEPPER] : (await readPrivate(pepperFile)).replace(/\r?\n$/, '')
  return () => {
    if (given === undefined || given === '')
      throw new PortcullisError(
        'no_pepper',
        `give the registry’s pepper, as \`pepper\` in the plugin’s config, with --pepper-file or ${PEPPER}`,
      )
    if (given.length < LEAST_PEPPER)
      throw new PortcullisError('no_pepper', `the registry’s pepper has at least ${LEAST_PEPPER} characters`)
    return given
  }
}

/** @throws {PortcullisError} before anything was changed, when nothing could be delivered there */
export async function openOutput(options: OutputOptions, io: Io, format: LineFormat): Promise<SecretOutput> {
  const { out, vaultPath, vaultMount } = options
  if (out !== undefined && vaultPath !== undefined)
    throw new PortcullisError('invalid_argument', 'either --out or --vault-path, not both')
  if (out !== undefined) {
    const { createFileOutput } = await import('./outputs/file.ts')
    return createFileOutput(out, format)
  }
  if (vaultPath === undefined) {
    const { createStdoutOutput } = await import('./outputs/stdout.ts')
    return createStdoutOutput(io, format)
  }
  const { VAULT_ADDR: address, VAULT_TOKEN: token, VAULT_NAMESPACE: namespace } = io.env
  if (address === undefined || address === '' || token === undefined || token === '')
    throw new PortcullisError('invalid_argument', '--vault-path needs VAULT_ADDR and VAULT_TOKEN')
  const { createVaultKv } = await import('./outputs/vault-kv.ts')
  const { createVaultOutput } = await import('./outputs/vault.ts')
  const kv = createVaultKv({
    address,
    token,
    mount: vaultMount,
    ...(namespace === undefined || namespace === '' ? {} : { namespace }),
  })
  return createVaultOutput(kv, vaultPath)
}
