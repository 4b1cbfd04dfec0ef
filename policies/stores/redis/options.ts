/** The config as ioredis takes it. */

import type { ClusterOptions, RedisOptions } from 'ioredis'
import { parseRedisUrl, type RedisConfig } from './config.ts'

/** Milliseconds to wait before the attempt of this number. */
export type RetryDelay = (times: number) => number

type Address = { readonly host: string; readonly port: number }

/** Milliseconds between looks at which node holds which slots, which a failover changes. */
const SLOTS_REFRESH = 2000

/**
 * A command is sent once and answered or failed: with the defaults a command whose reply was lost runs again, which refunded
 * twice.
 */
const ONCE = { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 } as const satisfies RedisOptions

/** What the connection is called in logs and telemetry; never holds a secret. */
export function describeRedis(config: RedisConfig): string {
  if (config.sentinel_master !== undefined) return `sentinel:${config.sentinel_master}`
  if (config.cluster_nodes !== undefined) return 'cluster'
  const { host, port } = singleAddress(config)
  return `${host}:${port}`
}

export function redisOptions(config: RedisConfig, retryDelay: RetryDelay) {
  return {
    ...common(config),
    enableOfflineQueue: false,
    db: (config.url === undefined ? undefined : parseRedisUrl(config.url)?.database) ?? config.database ?? 0,
    retryStrategy: retryDelay,
    ...(config.sentinel_master === undefined ? singleAddress(config) : sentinel(config, retryDelay)),
  } satisfies RedisOptions
}

export function clusterOptions(config: RedisConfig, retryDelay: RetryDelay) {
  return {
    // Without it ioredis refuses commands while it connects to a node, in the words of a reply that was lost. The
    // connection sends nothing before the cluster is ready, so that what waits has its node and its time limit.
    enableOfflineQueue: true,
    clusterRetryStrategy: retryDelay,
    slotsRefreshInterval: SLOTS_REFRESH,
    slotsRefreshTimeout: config.connect_timeout_ms,
    // These two would send a command again whose reply was lost, or after it was given up.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    redisOptions: common(config),
  } satisfies ClusterOptions
}

export function clusterNodes(config: RedisConfig): Address[] {
  return (config.cluster_nodes ?? []).map(({ host, port }) => ({ host, port }))
}

function common(config: RedisConfig) {
  const url = config.url === undefined ? undefined : parseRedisUrl(config.url)
  const username = url?.username ?? config.username
  const password = url?.password ?? config.password
  const tls = tlsOptions(config)
  return {
    ...ONCE,
    // Every Redis, Valkey and proxy speaks it; nothing here needs the newer one.
    protocol: 2,
    connectTimeout: config.connect_timeout_ms,
    disconnectTimeout: config.command_timeout_ms,
    connectionName: 'portcullis',
    // Newer than Redis 6.2, and one right less that the user needs.
    disableClientInfo: true,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
  } as const satisfies RedisOptions
}

function tlsOptions(config: RedisConfig) {
  const { tls } = config
  const byUrl = config.url !== undefined && parseRedisUrl(config.url)?.tls === true
  if (!byUrl && tls?.enabled !== true) return undefined
  return {
    rejectUnauthorized: tls?.verify ?? true,
    ...(tls?.server_name === undefined ? {} : { servername: tls.server_name }),
    ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls?.key === undefined ? {} : { key: tls.key }),
  }
}

function singleAddress(config: RedisConfig): Address {
  const url = config.url === undefined ? undefined : parseRedisUrl(config.url)
  return { host: url?.host ?? config.host ?? '127.0.0.1', port: url?.port ?? config.port ?? 6379 }
}

function sentinel(config: RedisConfig, retryDelay: RetryDelay) {
  const tls = tlsOptions(config)
  return {
    name: config.sentinel_master ?? '',
    sentinels: (config.sentinel_nodes ?? []).map(({ host, port }) => ({ host, port })),
    sentinelCommandTimeout: config.connect_timeout_ms,
    sentinelRetryStrategy: retryDelay,
    // Hears of a failover at once, also when the old master still answers.
    failoverDetector: true,
    ...(config.sentinel_username === undefined ? {} : { sentinelUsername: config.sentinel_username }),
    ...(config.sentinel_password === undefined ? {} : { sentinelPassword: config.sentinel_password }),
    ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: tls }),
  } satisfies RedisOptions
}
