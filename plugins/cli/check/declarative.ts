/** Kong's declarative format 3.0, as Kong and deck read it; several files are taken together, as deck takes them. */

import { PortcullisError } from '../../../policies/errors.ts'
import type { Places } from './document.ts'
import { CREDENTIAL_TYPES, EntityCollector, type KongConfig } from './entities.ts'
import { isRaw, memberAt, type Raw, rawList, text } from './place.ts'

export interface DeclarativeFile {
  readonly path: string
  readonly root: unknown
}

/** @throws {PortcullisError} `unreadable_file` for what is no declarative configuration of format 3.0. */
export function readDeclarative(files: readonly DeclarativeFile[], places: Places): KongConfig {
  const collector = new EntityCollector((value) => places.of(value) ?? { file: files[0]?.path ?? '' })
  const roots = files.map(({ path, root }) => {
    if (!isRaw(root) || root._format_version === undefined)
      throw new PortcullisError('unreadable_file', `${path}: is no declarative configuration of Kong`)
    if (!/^3\.\d+$/.test(String(root._format_version)) && root._format_version !== 3)
      throw new PortcullisError('unreadable_file', `${path}: has a _format_version other than 3.0`)
    return root
  })
  const configs = new Map(
    roots.flatMap((root) => Object.entries(isRaw(root._plugin_configs) ? root._plugin_configs : {})),
  )
  const reader = new Reader(collector, places, configs)
  // Names first: an entity may name one that stands further down, or in another file.
  for (const root of roots) reader.upstreams(root)
  for (const root of roots) reader.services(root)
  for (const root of roots) reader.routes(root)
  for (const root of roots) reader.rest(root)
  return collector.finish(true)
}

class Reader {
  private readonly collector: EntityCollector
  private readonly places: Places
  private readonly sharedConfigs: ReadonlyMap<string, unknown>

  constructor(collector: EntityCollector, places: Places, sharedConfigs: ReadonlyMap<string, unknown>) {
    this.collector = collector
    this.places = places
    this.sharedConfigs = sharedConfigs
  }

  upstreams(root: Raw): void {
    for (const raw of rawList(root.upstreams)) this.collector.upstream(raw, rawList(raw.targets))
    for (const raw of rawList(root.targets)) {
      const named = text(raw.upstream) ?? text(memberAt(raw.upstream, 'name'))
      this.collector.upstream({ name: named }, [raw])
    }
  }

  services(root: Raw): void {
    for (const raw of rawList(root.services)) {
      const service = this.withDefaults(root, 'service', raw)
      this.collector.service(service)
      this.plugins(raw, { service })
      for (const route of rawList(raw.routes)) this.route(root, route, service)
    }
  }

  routes(root: Raw): void {
    for (const raw of rawList(root.routes)) this.route(root, raw, raw.service)
  }

  rest(root: Raw): void {
    for (const raw of rawList(root.consumers)) {
      this.collector.consumer(raw)
      this.plugins(raw, { consumer: raw })
      for (const type of CREDENTIAL_TYPES)
        for (const credential of rawList(raw[type])) this.collector.credential(type, credential, raw)
    }
    for (const group of rawList(root.consumer_groups)) this.plugins(group, { consumer_group: group })
    for (const type of CREDENTIAL_TYPES)
      for (const credential of rawList(root[type])) this.collector.credential(type, credential, credential.consumer)
    this.plugins(root, {})
  }

  private route(root: Raw, raw: Raw, service: unknown): void {
    const route = this.withDefaults(root, 'route', raw)
    this.collector.route(route, service)
    this.plugins(raw, { route })
  }

  private plugins(owner: Raw, scope: Raw): void {
    for (const raw of rawList(owner.plugins)) {
      const shared = text(raw._config)
      const base = shared === undefined ? undefined : this.sharedConfigs.get(shared)
      const config =
        base === undefined ? raw.config : { ...(isRaw(base) ? base : {}), ...(isRaw(raw.config) ? raw.config : {}) }
      this.collector.plugin(raw, config, scope)
    }
  }

  /** deck's `_info.defaults`. */
  private withDefaults(root: Raw, kind: 'service' | 'route', raw: Raw): Raw {
    const defaults = memberAt(root, '_info', 'defaults', kind)
    if (!isRaw(defaults)) return raw
    const full = { ...defaults, ...raw }
    const place = this.places.of(raw)
    if (place !== undefined) {
      const members = this.places.note(full, place)
      for (const key of Object.keys(full)) {
        const member = this.places.of(Object.hasOwn(raw, key) ? raw : defaults, key)
        if (member !== undefined) members.set(key, member)
      }
    }
    return full
  }
}
