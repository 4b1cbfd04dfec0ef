/** Redis stores as tests open them. */

import { systemClock, systemRandom } from '../../../plugins/deps.ts'
import type { Logger } from '../../../policies/policy.ts'
import { parseConfig } from '../../../policies/schema/parse.ts'
import { redisFields } from '../../../policies/stores/redis/config.ts'
import { createRedisStore, type RedisStore, type RedisStoreConfig } from '../../../policies/stores/redis/store.ts'
import type { StoreEvent } from '../../../policies/telemetry.ts'
import { channels } from '../../../policies/telemetry.ts'

export interface LogLine {
  readonly level: 'info' | 'warn' | 'error'
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

export function collectLog(): { readonly logger: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = []
  const at =
    (level: LogLine['level']) =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
      lines.push({ level, message, fields })
    }
  return { logger: { info: at('info'), warn: at('warn'), error: at('error') }, lines }
}

export interface OpenedStore {
  readonly store: RedisStore
  readonly lines: LogLine[]
}

export type StoreSettings = Partial<Omit<RedisStoreConfig, 'redis'>>

/** @param redis config fields of the connection, as an operator writes them */
export function openRedisStore(redis: Record<string, unknown>, settings: StoreSettings = {}): OpenedStore {
  const { logger, lines } = collectLog()
  const config = { redis: parseConfig(redisFields, redis), on_store_error: 'local' as const, ...settings }
  return { store: createRedisStore(config, { clock: systemClock, random: systemRandom, logger }), lines }
}

/** Store events as they are published, until `stop`. */
export function collectStoreEvents(): { readonly events: StoreEvent[]; stop(): void } {
  const events: StoreEvent[] = []
  const listen = (event: unknown) => {
    events.push(event as StoreEvent)
  }
  channels.store.subscribe(listen)
  return { events, stop: () => channels.store.unsubscribe(listen) }
}
