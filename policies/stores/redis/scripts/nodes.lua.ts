/**
 * Which gateway nodes are alive.
 *
 * KEYS: a sorted set. ARGV: the time or ''; this node's name; milliseconds after which an unheard node counts as gone.
 * The reply: how many are alive.
 */
export const nodes = `
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('ZCARD', KEYS[1])
`
