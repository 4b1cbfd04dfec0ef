/** Runs the real Express Gateway in this process, as often as asked: its modules are single instances, so each start loads fresh ones. */

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import type { PluginContext } from '../../../../plugins/express-gateway/eg.ts'

const require = createRequire(import.meta.url)
const ROOT = `${sep}node_modules${sep}express-gateway${sep}`

export interface ConsumerOptions {
  readonly username: string
  readonly tags?: readonly string[]
  /** `id:secret`; made up when absent. */
  readonly key?: string
  readonly scopes?: readonly string[]
}

export interface GatewayOptions {
  /** What stands in `gateway.config.yml` beside `http`. */
  readonly config: Readonly<Record<string, unknown>>
  readonly consumers?: readonly ConsumerOptions[]
  /**
   * How the pack gets in: `init` of an already loaded plugin, or the path that Express Gateway's own loader requires.
   */
  readonly plugin: ((context: PluginContext) => void) | { readonly package: string; readonly settings?: object }
  /** Conditions of some other plugin. */
  readonly conditions?: readonly object[]
  /** Default: any free port. */
  readonly port?: number
  /** Gets the gateway's own log lines; default: they are dropped. */
  readonly log?: (level: string, message: string) => void
  /** Reload when the config file changes. */
  readonly watch?: boolean
}

export interface Gateway {
  readonly baseUrl: string
  readonly server: Server
  /** Keys by user name, as `id:secret`. */
  readonly keys: Readonly<Record<string, string>>
  /** Gives a consumer a password for basic-auth. */
  addBasicAuth(username: string, password: string): Promise<void>
  /** Writes a new `gateway.config`; the gateway reloads it when it watches. */
  rewrite(config: Readonly<Record<string, unknown>>): void
  /** Emits the gateway's own hot-reload event with the config as it now stands in the file. */
  reload(): Promise<void>
  stop(): Promise<void>
}

interface EgServicesLoaded {
  readonly user: {
    insert(user: object): Promise<{ readonly id: string }>
    find(username: string): Promise<{ readonly id: string }>
  }
  readonly credential: {
    insertScopes(scopes: readonly string[]): Promise<unknown>
    insertCredential(consumer: string, type: string, details: object): Promise<{ keyId: string; keySecret: string }>
  }
}

type LogListener = (line: { readonly level: string; readonly message: string }) => void

interface Logger {
  on(event: 'data', listener: LogListener): void
  off(event: 'data', listener: LogListener): void
}

interface EgConfigLoaded {
  loadGatewayConfig(): void
  unwatch(): void
}

/** @throws when the gateway refuses its config. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  forgetModules()
  const directory = writeConfig(options)
  process.env.EG_CONFIG_DIR = directory
  if (options.watch === true) delete process.env.EG_DISABLE_CONFIG_WATCH
  else process.env.EG_DISABLE_CONFIG_WATCH = 'true'
  routeLogs(options.log)
  let config: EgConfigLoaded | undefined
  try {
    config = load<EgConfigLoaded>('config')
    const plugins = loadPlugins(options, config)
    const services = load<EgServicesLoaded>('services')
    const keys = await createConsumers(services, options.consumers ?? [])
    const gateway = load<(options: object) => Promise<{ app: Server }>>('gateway')
    const { app: server } = await gateway({ plugins, config })
    const loaded = config
    return {
      baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      server,
      keys,
      async addBasicAuth(username, password) {
        const { id } = await services.user.find(username)
        await services.credential.insertCredential(id, 'basic-auth', { password })
      },
      rewrite: (next) => writeGatewayConfig(directory, { ...options, config: next }),
      async reload() {
        loaded.loadGatewayConfig()
        const over = saidOf(/hot-reload/)
        load<{ emit(name: string, context: object): void }>('eventBus').emit('hot-reload', { config: loaded })
        await over
      },
      async stop() {
        loaded.unwatch()
        server.close()
        server.closeAllConnections()
        await once(server, 'close')
        rmSync(directory, { recursive: true })
      },
    }
  } catch (error) {
    config?.unwatch()
    rmSync(directory, { recursive: true })
    throw error
  }
}

function load<T>(name: string): T {
  return require(`express-gateway/lib/${name}`) as T
}

function forgetModules(): void {
  for (const path of Object.keys(require.cache)) if (path.includes(`${ROOT}lib${sep}`)) delete require.cache[path]
}

function loadPlugins({ plugin, conditions = [] }: GatewayOptions, config: unknown): object {
  if (typeof plugin !== 'function') return load<{ load(options: object): object }>('plugins').load({ config })
  const policies: unknown[] = []
  plugin({
    logger: load<{ plugins: PluginContext['logger'] }>('logger').plugins,
    services: load<PluginContext['services']>('services'),
    settings: {},
    eventBus: load<PluginContext['eventBus']>('eventBus'),
    registerPolicy: (policy) => void policies.push(policy),
  })
  return { policies, conditions, gatewayRoutes: [] }
}

function routeLogs(log: GatewayOptions['log']): void {
  const loggers = Object.values(load<Record<string, unknown>>('logger')).filter((value) => typeof value === 'object')
  for (const logger of loggers as Logger[]) {
    if (log !== undefined) logger.on('data', ({ level, message }) => log(plain(level), message))
    for (const transport of (logger as unknown as { transports: { silent: boolean }[] }).transports)
      transport.silent = true
  }
}

/** Resolves with the gateway's next log line of this kind: of a reload nothing else tells when it is done, or refused. */
function saidOf(kind: RegExp): Promise<void> {
  const { gateway: logger } = load<{ readonly gateway: Logger }>('logger')
  return new Promise((resolve) => {
    const listener: LogListener = ({ message }) => {
      if (!kind.test(message)) return
      logger.off('data', listener)
      resolve()
    }
    logger.on('data', listener)
  })
}

function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes are what is removed
  return text.replace(/\u001b\[\d+m/g, '')
}

async function createConsumers(
  services: EgServicesLoaded,
  consumers: readonly ConsumerOptions[],
): Promise<Record<string, string>> {
  const scopes = [...new Set(consumers.flatMap((consumer) => consumer.scopes ?? []))]
  if (scopes.length > 0) await services.credential.insertScopes(scopes)
  const keys: Record<string, string> = {}
  for (const { username, tags = [], key = randomKey(), scopes: granted } of consumers) {
    const user = await services.user.insert({ username, firstname: username, lastname: username, tags: tags.join(',') })
    const [keyId, keySecret] = key.split(':')
    await services.credential.insertCredential(user.id, 'key-auth', {
      keyId,
      keySecret,
      ...(granted === undefined ? {} : { scopes: granted }),
    })
    keys[username] = key
  }
  return keys
}

function randomKey(): string {
  return `${randomBytes(8).toString('hex')}:${randomBytes(16).toString('hex')}`
}

function writeConfig(options: GatewayOptions): string {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-eg-'))
  const { plugin } = options
  const plugins = typeof plugin === 'function' ? {} : { portcullis: { package: plugin.package, ...plugin.settings } }
  const system = {
    // Every start gets its own data: the Redis stand-in outlives the gateway.
    db: { redis: { emulate: true, namespace: `EG-${randomBytes(8).toString('hex')}` } },
    plugins,
    crypto: { cipherKey: randomBytes(16).toString('hex'), algorithm: 'aes256', saltRounds: 4 },
    session: { secret: randomBytes(16).toString('hex'), resave: false, saveUninitialized: false },
    accessTokens: { timeToExpiry: 7_200_000 },
    refreshTokens: { timeToExpiry: 7_200_000 },
    authorizationCodes: { timeToExpiry: 300_000 },
  }
  writeFileSync(join(directory, 'system.config.json'), JSON.stringify(system))
  writeGatewayConfig(directory, options)
  mkdirSync(join(directory, 'models'))
  for (const model of ['users', 'credentials', 'applications'])
    writeFileSync(join(directory, 'models', `${model}.json`), JSON.stringify(modelOf(model)))
  return directory
}

function modelOf(name: string): object {
  const model = require(`express-gateway/lib/config/models/${name}.json`) as { readonly properties: object }
  return name === 'users' ? { ...model, properties: { ...model.properties, tags: { type: 'string' } } } : model
}

function writeGatewayConfig(directory: string, { config, port = 0 }: GatewayOptions): void {
  const whole = { http: { port, hostname: '127.0.0.1' }, ...config }
  writeFileSync(join(directory, 'gateway.config.json'), JSON.stringify(whole))
}
