/** Config fields of the connection to Redis. */

import { boolean, integer, list, record, string } from '../../schema/declare.ts'
import { type Config, type ConfigIssue, defineFields } from '../../schema/fields.ts'

const nodeFields = defineFields({
  host: { type: string({ maxLength: 255 }), description: 'Host name or address of the node.', required: true },
  port: { type: integer({ min: 1, max: 65_535 }), description: 'TCP port of the node.', default: 6379 },
})

const tlsFields = defineFields({
  enabled: { type: boolean(), description: 'Connect with TLS.', default: false },
  verify: { type: boolean(), description: "Check the server's certificate and name.", default: true },
  server_name: { type: string({ maxLength: 255 }), description: 'Name to expect in the certificate. Unset: the host.' },
  ca: {
    type: string({ maxLength: 65_536 }),
    description: 'PEM text of the certificate authorities to trust. Unset: the usual ones.',
  },
  cert: {
    type: string({ maxLength: 65_536 }),
    description: 'PEM text of the certificate to show to a server that asks for one.',
  },
  key: { type: string({ maxLength: 65_536, secret: true }), description: 'PEM text of the private key of `cert`.' },
})

export const redisFields = defineFields({
  url: {
    type: string({ maxLength: 2048, secret: true }),
    description:
      '`redis://` or `rediss://` URL with user, password, host, port and database. Instead of the single fields.',
  },
  host: { type: string({ maxLength: 255 }), description: 'Host name or address of a single Redis. Unset: 127.0.0.1.' },
  port: { type: integer({ min: 1, max: 65_535 }), description: 'TCP port of a single Redis. Unset: 6379.' },
  username: { type: string({ maxLength: 255 }), description: 'User of the access control list.' },
  password: { type: string({ maxLength: 1024, secret: true }), description: 'Password of the user or the server.' },
  database: { type: integer({ min: 0, max: 1_000_000 }), description: 'Number of the database. Unset: 0.' },
  sentinel_master: { type: string({ maxLength: 255 }), description: 'Name of the master that the sentinels watch.' },
  sentinel_nodes: {
    type: list(record(nodeFields), { minItems: 1 }),
    description: 'The sentinels to ask for the master.',
  },
  sentinel_username: { type: string({ maxLength: 255 }), description: 'User at the sentinels.' },
  sentinel_password: { type: string({ maxLength: 1024, secret: true }), description: 'Password at the sentinels.' },
  cluster_nodes: {
    type: list(record(nodeFields), { minItems: 1 }),
    description: 'Nodes of a Redis Cluster from which to learn the others.',
  },
  tls: {
    type: record(tlsFields),
    description: 'Encryption of the connection. Unset: none, unless the URL is `rediss://`.',
  },
  key_prefix: {
    type: string({ maxLength: 64, pattern: { js: '^[A-Za-z0-9:._-]+$', lua: '^[A-Za-z0-9:._-]+$' } }),
    description: 'What every key starts with. Gateways with the same prefix share counters.',
    default: 'portcullis:',
  },
  command_timeout_ms: {
    type: integer({ min: 1, max: 60_000 }),
    description: 'Milliseconds after which an unanswered command counts as failed.',
    default: 100,
  },
  connect_timeout_ms: {
    type: integer({ min: 1, max: 60_000 }),
    description: 'Milliseconds after which an unanswered connection attempt counts as failed.',
    default: 1000,
  },
})

export type RedisConfig = Config<typeof redisFields>

/** What the field kinds cannot say. */
export function checkRedis(redis: RedisConfig, path: string): readonly ConfigIssue[] {
  const issues: ConfigIssue[] = []
  const issue = (wrong: boolean, field: string, message: string) => {
    if (wrong) issues.push({ path: `${path}.${field}`, message })
  }
  const sentinel = redis.sentinel_master !== undefined || redis.sentinel_nodes !== undefined
  const cluster = redis.cluster_nodes !== undefined
  const address = redis.host !== undefined || redis.port !== undefined
  issue(redis.url !== undefined && address, 'url', 'cannot be set together with `host` or `port`')
  issue(
    sentinel && (redis.sentinel_master === undefined || redis.sentinel_nodes === undefined),
    'sentinel_master',
    'and `sentinel_nodes` go together',
  )
  issue(sentinel && cluster, 'cluster_nodes', 'cannot be set together with a sentinel')
  issue(
    (redis.url !== undefined || address) && (sentinel || cluster),
    'host',
    'and `url` and `port` are for a single Redis only',
  )
  issue(cluster && (redis.database ?? 0) !== 0, 'database', 'must be 0 in a cluster, which has no other')
  issue(
    !sentinel && (redis.sentinel_username ?? redis.sentinel_password) !== undefined,
    'sentinel_username',
    'and `sentinel_password` are for sentinels only',
  )
  issue((redis.tls?.cert === undefined) !== (redis.tls?.key === undefined), 'tls.cert', 'and `key` go together')
  issue(redis.username !== undefined && redis.password === undefined, 'username', 'needs a `password`')
  if (redis.url !== undefined) {
    const url = parseRedisUrl(redis.url)
    issue(url === undefined, 'url', 'must be redis[s]://[[user]:password@]host[:port][/database]')
    issue(
      url?.password !== undefined && (redis.username ?? redis.password) !== undefined,
      'url',
      'has a password, so `username` and `password` cannot be set as well',
    )
    issue(url?.database !== undefined && redis.database !== undefined, 'url', 'names a database, as `database` does')
  }
  return issues
}

export interface RedisUrl {
  readonly tls: boolean
  readonly host: string
  readonly port: number
  readonly username?: string
  readonly password?: string
  readonly database?: number
}

/** Undefined when it is no URL of a Redis. */
export function parseRedisUrl(text: string): RedisUrl | undefined {
  if (!URL.canParse(text)) return undefined
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(text)
  const database = /^\/?(\d{1,7})?$/.exec(pathname)
  if ((protocol !== 'redis:' && protocol !== 'rediss:') || hostname === '' || database === null) return undefined
  if (search !== '' || hash !== '' || (username !== '' && password === '')) return undefined
  const user = decode(username)
  const secret = decode(password)
  if (user === undefined || secret === undefined) return undefined
  return {
    tls: protocol === 'rediss:',
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? 6379 : Number(port),
    ...(user === '' ? {} : { username: user }),
    ...(secret === '' ? {} : { password: secret }),
    ...(database[1] === undefined ? {} : { database: Number(database[1]) }),
  }
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch (error) {
    if (error instanceof URIError) return undefined
    throw error
  }
}
