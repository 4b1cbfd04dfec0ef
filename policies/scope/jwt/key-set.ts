/**
 * An issuer's keys. A remote set is fetched at most once per cooldown, whatever arrives, and outlives an outage of its
 * issuer for a bounded time.
 */

import type { CryptoKey } from 'jose'
import { PortcullisError } from '../../errors.ts'
import type { Clock, FetchDocument, Logger, MaybePromise } from '../../policy.ts'
import { publish } from '../../telemetry.ts'
import { type Jwk, parseKeySet } from './key-document.ts'

/** The protected header, as far as a key is chosen by it. */
export interface KeyHeader {
  readonly alg: string
  readonly kid?: string
}

export interface KeySet {
  /**
   * The one key for this header; undefined when there is none, or more than one.
   * @throws {PortcullisError} `jwks_unavailable` when no usable set could be had.
   */
  find(header: KeyHeader): MaybePromise<FoundKey | undefined>
  /**
   * The version of the keys, which changes whenever they do: what an older one verified must be verified again. Undefined
   * when they are too old to be used. Starts a refresh in the background when one is due.
   */
  version(): number | undefined
}

export interface FoundKey {
  readonly key: CryptoKey
  /** Of the set that the key is from. */
  readonly version: number
}

export interface KeyChooser {
  find(header: KeyHeader): MaybePromise<CryptoKey | undefined>
}

/** Made by jose; loaded when the first token comes. */
export type MakeChooser = (keys: readonly Jwk[]) => Promise<KeyChooser>

export interface RemoteOptions {
  readonly url: string
  readonly fetchDocument: FetchDocument
  readonly clock: Clock
  readonly logger: Logger
  readonly makeChooser: MakeChooser
  readonly refreshMs: number
  readonly cooldownMs: number
  readonly staleMs: number
  readonly timeoutMs: number
  readonly maxBytes: number
}

/** @param text a key set that was checked before */
export function inlineKeySet(text: string, makeChooser: MakeChooser): KeySet {
  let making: Promise<KeyChooser> | undefined
  let chooser: KeyChooser | undefined

  async function make(): Promise<KeyChooser> {
    making ??= makeChooser(parseKeySet(text)?.keys ?? [])
    chooser = await making
    return chooser
  }

  return {
    version: () => 1,
    find(header) {
      if (chooser !== undefined) return foundIn(chooser, 1, header)
      return make().then((made) => foundIn(made, 1, header))
    },
  }
}

function foundIn(chooser: KeyChooser, version: number, header: KeyHeader): MaybePromise<FoundKey | undefined> {
  const found = chooser.find(header)
  if (found instanceof Promise) return found.then((key) => (key === undefined ? undefined : { key, version }))
  return found === undefined ? undefined : { key: found, version }
}

interface Loaded {
  readonly chooser: KeyChooser
  readonly text: string
  readonly at: number
  readonly version: number
}

export function remoteKeySet(options: RemoteOptions): KeySet {
  const { clock, logger } = options
  let loaded: Loaded | undefined
  let lastAttempt = Number.NEGATIVE_INFINITY
  let pending: Promise<void> | undefined

  /** Never rejects. Does nothing within the cooldown, which failures start as well. */
  function refresh(): Promise<void> {
    if (pending !== undefined) return pending
    if (clock.monotonic() - lastAttempt < options.cooldownMs) return Promise.resolve()
    lastAttempt = clock.monotonic()
    pending = load().then(
      () => {
        pending = undefined
      },
      (error: unknown) => {
        pending = undefined
        const code = error instanceof PortcullisError ? error.code : 'internal_error'
        const detail = error instanceof PortcullisError ? error.message : undefined
        logger.warn('key set could not be fetched', { host: new URL(options.url).host, code, detail })
        publish('fault', () => ({ where: 'jwt.keys', code }))
      },
    )
    return pending
  }

  async function load(): Promise<void> {
    const { timeoutMs, maxBytes } = options
    const text = await options.fetchDocument(options.url, { timeoutMs, maxBytes })
    if (text === loaded?.text) {
      loaded = { ...loaded, at: clock.monotonic() }
      return
    }
    const document = parseKeySet(text)
    if (document === undefined || document.keys.length === 0)
      throw new PortcullisError('jwks_malformed', 'The document is no JSON Web Key Set with a public key.')
    if (document.secret > 0)
      logger.error('a published key set holds private or secret keys, which are not used', {
        host: new URL(options.url).host,
        keys: document.secret,
      })
    const chooser = await options.makeChooser(document.keys)
    loaded = { chooser, text, at: clock.monotonic(), version: (loaded?.version ?? 0) + 1 }
  }

  const ageOf = ({ at }: Loaded) => clock.monotonic() - at

  async function usable(): Promise<Loaded> {
    if (loaded !== undefined) {
      const age = ageOf(loaded)
      if (age <= options.refreshMs) return loaded
      const refreshed = refresh()
      // The keys that we have serve until then.
      if (age <= options.refreshMs + options.staleMs) return loaded
      await refreshed
    } else await refresh()
    if (loaded === undefined || ageOf(loaded) > options.refreshMs + options.staleMs)
      throw new PortcullisError('jwks_unavailable', 'The keys of a token issuer cannot be had.')
    return loaded
  }

  const findIn = ({ chooser, version }: Loaded, header: KeyHeader) => foundIn(chooser, version, header)

  async function search(header: KeyHeader): Promise<FoundKey | undefined> {
    const first = await usable()
    const found = await findIn(first, header)
    if (found !== undefined) return found
    await refresh()
    return loaded === undefined || loaded.version === first.version ? undefined : findIn(loaded, header)
  }

  return {
    version() {
      if (loaded === undefined) return undefined
      const age = ageOf(loaded)
      if (age > options.refreshMs) void refresh()
      return age <= options.refreshMs + options.staleMs ? loaded.version : undefined
    },
    find(header) {
      const known = loaded !== undefined && ageOf(loaded) <= options.refreshMs ? findIn(loaded, header) : undefined
      if (known instanceof Promise) return known.then((found) => found ?? search(header))
      return known ?? search(header)
    },
  }
}
