/** Kong's declarative formats 3.0 and 2.1, as Kong and deck read it; several files are taken together, as deck takes them. */

import { PortcullisError } from '../../../policies/errors.ts'
import type { Places } from './document.ts'
import { CREDENTIAL_TYPES, EntityCollector, type KongConfig } from './entities.ts'
import { isRaw, memberAt, type Raw, text } from './place.ts'

export interface DeclarativeFile {
  readonly path: string
  readonly root: unknown
}

/** @throws {PortcullisError} `unreadable_file` for what is no declarative configuration of these formats, or mixes workspaces. */
export function readDeclarative(files: readonly DeclarativeFile[], places: Places): KongConfig {
  const collector = new EntityCollector((value) => places.of(value) ?? { file: files[0]?.path ?? '' })
  const roots = files.map(({ path, root }) => {
    if (!isRaw(root) || root._format_version === undefined)
      throw new PortcullisError('unreadable_file', `${path}: is no declarative configuration of Kong`)
    if (!/^(3\.\d+|2\.1)$/.test(String(root._format_version)) && root._format_version !== 3)
      throw new PortcullisError('unreadable_file', `${path}: has a _format_version other than 3.0 or 2.1`)
    return root
  })
  const workspaces = new Set(roots.map((root) => text(root._workspace) ?? 'default'))
  if (workspaces.size > 1)
    throw new PortcullisError(
      'mixed_sources',
      'the files belong to different workspaces: check one workspace at a time',
    )
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
    for (const raw of this.list(root, 'upstreams')) this.collector.upstream(raw, this.list(raw, 'targets'))
    for (const raw of this.list(root, 'targets')) {
      const named = text(raw.upstream) ?? text(memberAt(raw.upstream, 'name'))
      this.collector.upstream({ name: named }, [raw])
    }
  }

  services(root: Raw): void {
    for (const raw of this.list(root, 'services')) {
      const service = this.withDefaults(root, 'service', raw)
      this.collector.service(service)
      this.plugins(raw, { service })
      for (const route of this.list(raw, 'routes')) this.route(root, route, service)
    }
  }

  routes(root: Raw): void {
    for (const raw of this.list(root, 'routes')) this.route(root, raw, raw.service)
  }

  rest(root: Raw): void {
    for (const raw of this.list(root, 'consumers')) {
      this.collector.consumer(raw)
      this.plugins(raw, { consumer: raw })
      for (const type of CREDENTIAL_TYPES)
        for (const credential of this.list(raw, type)) this.collector.credential(type, credential, raw)
    }
    for (const group of this.list(root, 'consumer_groups')) this.plugins(group, { consumer_group: group })
    for (const type of CREDENTIAL_TYPES)
      for (const credential of this.list(root, type)) this.collector.credential(type, credential, credential.consumer)
    for (const raw of this.list(root, 'certificates')) this.collector.holder('certificate', raw)
    for (const raw of this.list(root, 'vaults')) this.collector.holder('vault', raw)
    this.plugins(root, {})
  }

  private route(root: Raw, raw: Raw, service: unknown): void {
    const route = this.withDefaults(root, 'route', raw)
    this.collector.route(route, service)
    this.plugins(raw, { route })
  }

  private plugins(owner: Raw, scope: Raw): void {
    for (const raw of this.list(owner, 'plugins')) {
      const shared = text(raw._config)
      const base = shared === undefined ? undefined : this.sharedConfigs.get(shared)
      const config =
        base === undefined ? raw.config : { ...(isRaw(base) ? base : {}), ...(isRaw(raw.config) ? raw.config : {}) }
      this.collector.plugin(raw, config, scope)
    }
  }

  /** What is no list would be judged as if it were not there. */
  private list(owner: Raw, key: string): readonly Raw[] {
    const value = owner[key]
    if (Array.isArray(value) && value.every(isRaw)) return value
    // An export of Kong has an empty object where a list is empty.
    const isEmpty = value === undefined || value === null || (isRaw(value) && Object.keys(value).length === 0)
    if (isEmpty) return []
    const { file = '', line } = this.places.of(owner, key) ?? {}
    throw new PortcullisError('unreadable_file', `${file}:${line ?? 1}: ${key} is no list of entities`)
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
