/** Config fields of the connection to Redis. */

import { boolean, choice, integer, list, record, string } from '../schema/declare.ts'
import { defineFields } from '../schema/fields.ts'

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

export const storeFields = defineFields({
  store: {
    type: choice('memory', 'redis'),
    description: 'Where counters live. `memory`: in this process, gone when it ends, not shared with other nodes.',
    default: 'memory',
  },
  redis: { type: record(redisFields), description: 'The connection, with `store: redis`.' },
  on_store_error: {
    type: choice('local', 'deny', 'allow'),
    description:
      'While the store is down: count locally with a share of each limit, refuse with 503, or let everything through uncounted.',
    default: 'local',
  },
  nodes: {
    type: integer({ min: 1, max: 10_000 }),
    description: 'How many gateway nodes share the limits, for `on_store_error: local` as long as fewer were seen.',
  },
})
