/** The Redis that a command works on, named as the plugins' config names it. */

import { readFile } from 'node:fs/promises'
import { type Command, Option } from 'commander'
import { ConfigError, PortcullisError } from '../../policies/errors.ts'
import { parseConfig } from '../../policies/schema/parse.ts'
import { checkRedis, type RedisConfig, redisFields } from '../../policies/stores/redis/config.ts'

export interface RedisOptions {
  readonly redis?: string
  readonly redisConfig?: string
  readonly keyPrefix?: string
}

/** An operator's command may wait longer than a request may. */
const COMMAND_TIMEOUT_MS = 5000

export function addRedisOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--redis <url>', 'redis:// or rediss:// URL; a password is better kept in the variable').env(
        'PORTCULLIS_REDIS_URL',
      ),
    )
    .addOption(
      new Option('--redis-config <file>', 'YAML or JSON file with the options of `redis` in the plugins’ config').env(
        'PORTCULLIS_REDIS_CONFIG',
      ),
    )
    .option('--key-prefix <prefix>', 'what every key starts with, as `redis.key_prefix`')
}

/** @throws {PortcullisError} when they name no Redis, or one that cannot be; never quotes a value. */
export async function readRedis(options: RedisOptions): Promise<RedisConfig> {
  const named = {
    command_timeout_ms: COMMAND_TIMEOUT_MS,
    ...(options.redisConfig === undefined ? {} : await readFileOptions(options.redisConfig)),
    ...(options.redis === undefined ? {} : { url: options.redis }),
    ...(options.keyPrefix === undefined ? {} : { key_prefix: options.keyPrefix }),
  }
  if (options.redis === undefined && options.redisConfig === undefined)
    throw new PortcullisError('no_redis', 'name the Redis with --redis, PORTCULLIS_REDIS_URL or --redis-config')
  const redis = parseConfig(redisFields, named, { subject: 'the Redis store' })
  const issues = checkRedis(redis, 'redis')
  if (issues.length > 0) throw new ConfigError('the Redis store', issues)
  return redis
}

async function readFileOptions(path: string): Promise<object> {
  const { parse } = await import('yaml')
  let read: unknown
  try {
    read = parse(await readFile(path, 'utf8'), { maxAliasCount: 0 })
  } catch {
    // The parser's message quotes the file, which may hold a password.
    throw new PortcullisError('unreadable_file', `${path}: cannot be read as YAML or JSON`)
  }
  const options = (read as { readonly redis?: unknown } | null)?.redis ?? read
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new PortcullisError('unreadable_file', `${path}: holds no options of a Redis`)
  return options
}
