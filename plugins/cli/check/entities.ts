/** A Kong configuration as entities that know each other, from a declarative file or from the Admin API. */

import { addressOf } from './address.ts'
import { type Place, type Raw, rawList, strings, text } from './place.ts'

export interface Entity {
  readonly id?: string
  readonly name?: string
  readonly tags: readonly string[]
  readonly raw: Raw
  readonly place: Place
  /** Named by the configuration, but defined elsewhere: nothing is known but its name. */
  readonly external?: true
}

export interface Service extends Entity {
  /** Hosts of the targets, where the service's own host is the name of one of Kong's upstreams. */
  readonly targets?: readonly string[]
}

export interface Route extends Entity {
  readonly service?: Service
}

export interface Consumer extends Entity {
  readonly customId?: string
}

export interface Credential extends Entity {
  /** As in a declarative file: `keyauth_credentials`, `jwt_secrets`. */
  readonly type: string
  readonly consumer?: Consumer
}

export interface Plugin extends Entity {
  readonly name: string
  readonly config: Raw
  readonly enabled: boolean
  readonly route?: Route
  readonly service?: Service
  readonly consumer?: Consumer
  /** Kong Enterprise only. */
  readonly group?: string
}

/** What holds secrets besides plugins, services and credentials: the private key of a certificate, the token of a vault. */
export interface Holder extends Entity {
  readonly kind: 'certificate' | 'vault'
}

export interface KongConfig {
  readonly services: readonly Service[]
  readonly routes: readonly Route[]
  readonly consumers: readonly Consumer[]
  readonly credentials: readonly Credential[]
  readonly plugins: readonly Plugin[]
  /** Of files only. */
  readonly holders: readonly Holder[]
  /** Keys of credentials lie in clear in every database of Kong OSS; in a file they need not. */
  readonly fromFile: boolean
}

export const CREDENTIAL_TYPES = [
  'keyauth_credentials',
  'jwt_secrets',
  'basicauth_credentials',
  'hmacauth_credentials',
  'oauth2_credentials',
] as const

type Kind = 'services' | 'routes' | 'consumers'

/** Collects entities, then resolves what they say of each other by id or name. */
export class EntityCollector {
  private readonly found = { services: [] as Service[], routes: [] as Route[], consumers: [] as Consumer[] }
  private readonly upstreams = new Map<string, readonly string[]>()
  private readonly credentials: { type: string; raw: Raw; consumer: unknown }[] = []
  private readonly plugins: { raw: Raw; config: unknown; scope: Raw }[] = []
  private readonly holders: Holder[] = []
  private readonly place: (value: object) => Place

  constructor(place: (value: object) => Place) {
    this.place = place
  }

  /** Before the services that lead to it. @param targets as `host:port` */
  upstream(raw: Raw, targets: readonly Raw[]): void {
    const name = text(raw.name)
    if (name === undefined) return
    const hosts = targets.flatMap(({ target }) => text(target)?.replace(/:\d+$/, '') ?? [])
    this.upstreams.set(name, [...(this.upstreams.get(name) ?? []), ...hosts])
  }

  service(raw: Raw): Service {
    const targets = this.upstreams.get(addressOf(raw)?.host ?? '')
    return this.add('services', raw, { ...this.entity(raw), ...(targets === undefined ? {} : { targets }) })
  }

  route(raw: Raw, service: unknown): Route {
    const resolved = this.resolve('services', service)
    return this.add('routes', raw, { ...this.entity(raw), ...(resolved === undefined ? {} : { service: resolved }) })
  }

  consumer(raw: Raw): Consumer {
    const name = text(raw.username) ?? text(raw.custom_id)
    const customId = text(raw.custom_id)
    return this.add('consumers', raw, {
      ...this.entity(raw),
      ...(name === undefined ? {} : { name }),
      ...(customId === undefined ? {} : { customId }),
    })
  }

  credential(type: string, raw: Raw, consumer: unknown): void {
    this.credentials.push({ type, raw, consumer })
  }

  holder(kind: Holder['kind'], raw: Raw): void {
    this.holders.push({ ...this.entity(raw), kind })
  }

  /** @param scope what the plugin stands in, besides what it names itself */
  plugin(raw: Raw, config: unknown, scope: Raw = {}): void {
    this.plugins.push({ raw, config, scope })
  }

  /** Call it once, when everything was collected. */
  finish(fromFile: boolean): KongConfig {
    const plugins = this.plugins.map(({ raw, config, scope }): Plugin => {
      const route = this.resolve('routes', scope.route ?? raw.route) as Route | undefined
      const service = this.resolve('services', scope.service ?? raw.service)
      const consumer = this.resolve('consumers', scope.consumer ?? raw.consumer) as Consumer | undefined
      const group = keyOf(scope.consumer_group ?? raw.consumer_group)
      return {
        ...this.entity(raw),
        name: text(raw.name) ?? '(without a name)',
        config: asRaw(config),
        enabled: raw.enabled !== false && runsOnHttp(raw.protocols),
        ...(route === undefined ? {} : { route }),
        ...(service === undefined ? {} : { service }),
        ...(consumer === undefined ? {} : { consumer }),
        ...(group === undefined ? {} : { group }),
      }
    })
    const credentials = this.credentials.map(({ type, raw, consumer }): Credential => {
      const owner = this.resolve('consumers', consumer) as Consumer | undefined
      return { ...this.entity(raw), type, ...(owner === undefined ? {} : { consumer: owner }) }
    })
    return { ...this.found, credentials, plugins, holders: this.holders, fromFile }
  }

  private entity(raw: Raw): Entity {
    const id = text(raw.id)
    const name = text(raw.name)
    return {
      ...(id === undefined ? {} : { id }),
      ...(name === undefined ? {} : { name }),
      tags: strings(raw.tags),
      raw,
      place: this.place(raw),
    }
  }

  private add<E extends Entity>(kind: Kind, raw: Raw, entity: E): E {
    ;(this.found[kind] as Entity[]).push(entity)
    for (const key of [raw.id, raw.name, raw.username])
      if (typeof key === 'string') this.byKey.set(`${kind}:${key}`, entity)
    this.byRaw.set(raw, entity)
    return entity
  }

  private readonly byKey = new Map<string, Entity>()
  private readonly byRaw = new WeakMap<object, Entity>()

  /** By reference to what was collected, by id or name, or as something that is defined elsewhere. */
  private resolve(kind: Kind, reference: unknown): Entity | undefined {
    if (reference === undefined || reference === null) return undefined
    const collected = typeof reference === 'object' ? this.byRaw.get(reference) : undefined
    if (collected !== undefined) return collected
    const key = keyOf(reference)
    if (key === undefined) return undefined
    const known = this.byKey.get(`${kind}:${key}`)
    if (known !== undefined) return known
    const raw: Raw = { name: key }
    const place = typeof reference === 'object' ? this.place(reference) : { file: '' }
    const external: Entity = { name: key, tags: [], raw, place, external: true }
    return this.add(kind, raw, external)
  }
}

/** `llm`, `{ name: llm }` or `{ id: ... }`. */
function keyOf(reference: unknown): string | undefined {
  if (typeof reference === 'string') return reference === '' ? undefined : reference
  const raw = asRaw(reference)
  return text(raw.id) ?? text(raw.name) ?? text(raw.username)
}

function asRaw(value: unknown): Raw {
  return rawList([value])[0] ?? {}
}

const HTTP_PROTOCOLS = new Set(['http', 'https', 'grpc', 'grpcs', 'ws', 'wss'])

/** Kong leaves out, for HTTP, a plugin all of whose protocols are for raw connections. */
function runsOnHttp(protocols: unknown): boolean {
  return !Array.isArray(protocols) || protocols.some((protocol) => HTTP_PROTOCOLS.has(String(protocol)))
}
