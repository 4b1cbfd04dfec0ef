import { ReplyError } from 'ioredis'
import { describe, expect, it } from 'vitest'
import { PortcullisError } from '../../../../policies/errors.ts'
import { parseConfig } from '../../../../policies/schema/parse.ts'
import type { LocalShare } from '../../../../policies/stores/fallback.ts'
import type { SettleEntry } from '../../../../policies/stores/ports.ts'
import { createBreaker } from '../../../../policies/stores/redis/breaker.ts'
import { checkRedis, parseRedisUrl, redisFields } from '../../../../policies/stores/redis/config.ts'
import { createDeadline } from '../../../../policies/stores/redis/deadline.ts'
import { failureOf, RedisFailure, refusalOf } from '../../../../policies/stores/redis/failure.ts'
import { guardNode } from '../../../../policies/stores/redis/guarded-node.ts'
import { createPending, type Settling } from '../../../../policies/stores/redis/pending.ts'
import { manualClock } from '../../../support/redis/manual-clock.ts'
import { collectLog, collectStoreEvents } from '../../../support/redis/store.ts'

const SECRET = 'canary-3Vh8nD'

describe('the breaker', () => {
  it('opens at the fifth failure within a second', () => {
    const { clock, advance } = manualClock()
    const breaker = createBreaker(clock)
    for (let times = 0; times < 4; times++) {
      expect(breaker.failed()).toBe(false)
      advance(200)
    }
    expect([breaker.failed(), breaker.open]).toEqual([true, true])
    expect(breaker.failed()).toBe(false)
    breaker.close()
    expect(breaker.open).toBe(false)
    for (let times = 0; times < 4; times++) expect(breaker.failed()).toBe(false)
  })

  it('stays closed when five failures take longer', () => {
    const { clock, advance } = manualClock()
    const breaker = createBreaker(clock)
    for (let times = 0; times < 50; times++) {
      expect(breaker.failed()).toBe(false)
      advance(250)
    }
  })
})

describe('a Redis node that is down', () => {
  function guarded(probes: readonly boolean[], handOver = async () => true) {
    const time = manualClock()
    const { logger, lines } = collectLog()
    const seen = { probes: 0, reconnects: 0 }
    const node = guardNode('n', {
      clock: time.clock,
      logger,
      onStoreError: 'local',
      async probe() {
        const answers = probes[seen.probes++] ?? true
        if (!answers) throw new RedisFailure('timeout', true)
      },
      reconnect: () => void seen.reconnects++,
      createShare: () => ({ lives: { first: 1, last: 1 }, drain: () => [] }) as unknown as LocalShare,
      handOver,
    })
    const pass = async (ms: number) => {
      time.advance(ms)
      for (let turn = 0; turn < 20; turn++) await Promise.resolve()
    }
    return { node, lines, seen, pass, time }
  }

  it('is probed once a second, reconnected when that is in vain, and said to be down and up once', async () => {
    const { events, stop } = collectStoreEvents()
    const { node, lines, seen, pass, time } = guarded([false, false, false, true])
    for (let times = 0; times < 8; times++) node.failed(new RedisFailure('timeout', true), 'h')
    expect(node.down).toBe(true)
    await pass(999)
    expect(seen.probes).toBe(0)
    await pass(1)
    expect(seen).toEqual({ probes: 1, reconnects: 0 })
    await pass(1000)
    expect(seen).toEqual({ probes: 2, reconnects: 1 })
    await pass(1000)
    expect(node.down).toBe(true)
    await pass(1000)
    expect([node.down, seen.probes, time.timers]).toEqual([false, 4, 0])
    expect(lines.map(({ message, fields }) => [message, fields.down_ms])).toEqual([
      ['limit store down', undefined],
      ['limit store up', 4000],
    ])
    stop()
    expect(events).toEqual([
      { store: 'redis', node: 'n', state: 'down', reason: 'timeout' },
      { store: 'redis', node: 'n', state: 'up' },
    ])
  })

  it('is not used again before it has taken what was admitted meanwhile', async () => {
    let takes = false
    const { node, pass } = guarded([], async () => takes)
    node.trip('ECONNREFUSED', 'h')
    node.beginShare()
    await pass(1000)
    expect([node.down, node.share !== undefined]).toEqual([true, true])
    takes = true
    await pass(1000)
    expect([node.down, node.share]).toEqual([false, undefined])
  })

  it('is left alone once it is closed', async () => {
    const { node, seen, pass, time } = guarded([])
    node.trip('ECONNREFUSED', 'h')
    node.close()
    await pass(10_000)
    expect([seen.probes, time.timers]).toEqual([0, 0])
  })
})

describe('settlements that wait', () => {
  const counter = { algorithm: 'fixed_window', limit: 10, windowSeconds: 60 } as const
  const entry = (reserved: number, actual: number): SettleEntry => ({
    key: 'k',
    counter,
    at: 1,
    epoch: 1,
    reserved,
    actual,
  })
  const charge = (id: string): Settling => ({ id, hash: 'h', entries: [entry(1, 5)] })
  const refund = (id: string): Settling => ({ id, hash: 'h', entries: [entry(5, 1)] })
  const MOST = 10_000

  function waiting(send: (settling: Settling) => Promise<void> = async () => undefined) {
    const sent: Settling[] = []
    const dropped: string[] = []
    const pending = createPending({
      async send(settling) {
        sent.push(settling)
        await send(settling)
      },
      dropped: (code) => void dropped.push(code),
    })
    return { pending, sent, dropped }
  }

  it('keep a charge whatever happened, and a refund only when it certainly did not run', () => {
    const { pending } = waiting()
    pending.add(refund('a'), new RedisFailure('timeout', true))
    expect(pending.size).toBe(0)
    pending.add(refund('b'), new RedisFailure('ECONNREFUSED', false))
    pending.add(charge('c'), new RedisFailure('timeout', true))
    expect(pending.size).toBe(2)
  })

  it('send a charge again until it is answered, and a refund once', async () => {
    let lost = 3
    const { pending, sent } = waiting(async () => {
      if (lost-- > 0) throw new RedisFailure('connection_lost', true)
    })
    pending.add({ ...charge('both'), entries: [entry(1, 5), entry(5, 1)] })
    for (let times = 0; times < 3; times++) expect(await pending.flush(() => false)).toBe(false)
    expect(await pending.flush(() => false)).toBe(true)
    expect(sent.map(({ entries }) => entries.length)).toEqual([2, 1, 1, 1])
    expect(sent.slice(1).every(({ entries }) => entries[0]?.actual === 5)).toBe(true)
  })

  it('are bounded: refunds make room for charges, and what is lost is said', () => {
    const { pending, dropped } = waiting()
    pending.add(refund('first'))
    for (let index = 1; index < MOST; index++) pending.add(charge(`${index}`))
    pending.add(charge('one more'))
    expect([pending.size, dropped]).toEqual([MOST, ['refunds_dropped']])
    pending.add(charge('too much'))
    pending.add(refund('too much as well'))
    expect([pending.size, dropped.slice(1)]).toEqual([MOST, ['charges_dropped', 'refunds_dropped']])
  })

  it('are not held up by one that is refused for good, nor by nodes that are down', async () => {
    const { pending, sent, dropped } = waiting(async ({ id }) => {
      if (id === 'bad') throw new PortcullisError('store_fault', 'no')
    })
    for (const settling of [charge('bad'), { ...charge('down'), hash: 'elsewhere' }, charge('good')])
      pending.add(settling)
    expect(await pending.flush((hash) => hash === 'elsewhere')).toBe(false)
    expect([sent.map(({ id }) => id), dropped, pending.size]).toEqual([['bad', 'good'], ['settlement_refused'], 1])
  })
})

describe('time limits of commands', () => {
  function command() {
    let resolve = () => {}
    let reject: (failure: Error) => void = () => {}
    const promise = new Promise<void>((done, failed) => {
      resolve = done
      reject = failed
    })
    let isSettled = false
    promise.then(
      () => {
        isSettled = true
      },
      () => {
        isSettled = true
      },
    )
    return {
      promise,
      reject,
      resolve,
      get isSettled() {
        return isSettled
      },
    }
  }

  it('end each in its time, and keep no timer for what was answered', async () => {
    const { clock, advance } = manualClock()
    const deadline = createDeadline(clock, 100)
    const first = command()
    const second = command()
    deadline.watch(first)
    advance(60)
    deadline.watch(second)
    advance(39)
    await Promise.resolve()
    expect([first.isSettled, second.isSettled]).toEqual([false, false])
    advance(1)
    await expect(first.promise).rejects.toMatchObject({ reason: 'timeout', mayHaveRun: true })
    advance(59)
    await Promise.resolve()
    expect(second.isSettled).toBe(false)
    advance(1)
    await expect(second.promise).rejects.toMatchObject({ reason: 'timeout' })
  })

  it('may be shorter for one', async () => {
    const time = manualClock()
    const deadline = createDeadline(time.clock, 100)
    const short = command()
    deadline.watchFor(short, 10)
    time.advance(10)
    await expect(short.promise).rejects.toMatchObject({ reason: 'timeout' })
    const answered = command()
    deadline.watchFor(answered, 10)
    answered.resolve()
    await answered.promise
    await Promise.resolve()
    expect(time.timers).toBe(0)
  })
})

describe('failures', () => {
  it.each([
    ["READONLY You can't write against a read only replica.", 'READONLY'],
    ["READONLY You can't write against a read only replica. script: 5b1, on @user_script:3.", 'READONLY'],
    [
      "ERR Error running script (call to f_5b1): @user_script:3: @user_script: 3: -READONLY You can't write",
      'READONLY',
    ],
    ["OOM command not allowed when used memory > 'maxmemory'.", 'OOM'],
    ['LOADING Redis is loading the dataset in memory', 'LOADING'],
    ['BUSY Redis is busy running a script.', 'BUSY'],
    ['MASTERDOWN Link with MASTER is down', 'MASTERDOWN'],
    ['CLUSTERDOWN Hash slot not served', 'CLUSTERDOWN'],
    ['TRYAGAIN Multiple keys request during rehashing of slot', 'TRYAGAIN'],
    ['NOREPLICAS Not enough good replicas to write.', 'NOREPLICAS'],
    ['MISCONF Redis is configured to save RDB snapshots', 'MISCONF'],
    ['MOVED 866 127.0.0.1:7001', 'MOVED'],
    ['ASK 866 127.0.0.1:7001', 'MOVED'],
  ])('of Redis that pass: %s', (message, reason) => {
    expect(failureOf(new ReplyError(message))).toMatchObject({ name: 'RedisFailure', reason, mayHaveRun: false })
  })

  it('of Redis that are faults say its code and nothing of the command', () => {
    const fault = failureOf(new ReplyError(`WRONGTYPE Operation against a key ${SECRET}`))
    expect(fault).toMatchObject({ code: 'store_fault', message: 'Redis refused a command: WRONGTYPE.' })
    const odd = failureOf(new ReplyError(`${SECRET} is odd`))
    expect(odd).toMatchObject({ code: 'store_fault', message: 'Redis refused a command: unknown error.' })
  })

  it('of the connection may hide a success, unless nothing was sent', () => {
    expect(failureOf(new Error('Connection is closed.'))).toMatchObject({ reason: 'connection_lost', mayHaveRun: true })
    expect(failureOf(new Error("Stream isn't writeable and enableOfflineQueue options is false"))).toMatchObject({
      reason: 'not_connected',
      mayHaveRun: false,
    })
    expect(failureOf('anything')).toMatchObject({ mayHaveRun: true })
  })

  it.each([
    [`WRONGPASS invalid username-password pair ${SECRET}`, 'store_refused'],
    [`ERR invalid password ${SECRET}`, 'store_refused'],
    [`NOPERM this user has no permissions ${SECRET}`, 'store_refused'],
    [`ERR DB index is out of range ${SECRET}`, 'store_refused'],
    [`ERR This instance has cluster support disabled ${SECRET}`, 'store_refused'],
  ])('that keep the gateway from starting name the server and no secret: %s', (message, code) => {
    const refusal = refusalOf(new ReplyError(message), 'redis.internal:6379')
    expect(refusal?.code).toBe(code)
    expect(refusal?.message).toContain('redis.internal:6379')
    expect(refusal?.message).not.toContain(SECRET)
  })

  it('that pass do not', () => {
    for (const message of ['LOADING', 'connect ECONNREFUSED', ''])
      expect(refusalOf(new Error(message), 'x')).toBeUndefined()
  })
})

describe('the config of the connection', () => {
  it.each([
    ['redis://h', { tls: false, host: 'h', port: 6379 }],
    [
      'rediss://u:p%40@[::1]:7000/3',
      { tls: true, host: '::1', port: 7000, username: 'u', password: 'p@', database: 3 },
    ],
    ['redis://:p@h/', { tls: false, host: 'h', port: 6379, password: 'p' }],
  ])('reads the URL %s', (url, expected) => {
    expect(parseRedisUrl(url)).toEqual(expected)
  })

  it.each([
    'http://h',
    'redis://',
    'redis://u@h',
    'redis://h/x',
    'redis://h/1/2',
    'redis://h?db=1',
    'redis://h#x',
    'redis://%zz:p@h',
    'h:6379',
  ])('refuses the URL %s', (url) => {
    expect(parseRedisUrl(url)).toBeUndefined()
  })

  const node = [{ host: 'h' }]
  it.each([
    [{ url: 'redis://h', host: 'h' }, ['redis.url']],
    [{ sentinel_master: 'm' }, ['redis.sentinel_master']],
    [{ sentinel_master: 'm', sentinel_nodes: node, cluster_nodes: node }, ['redis.cluster_nodes']],
    [{ cluster_nodes: node, host: 'h' }, ['redis.host']],
    [{ cluster_nodes: node, database: 1 }, ['redis.database']],
    [{ sentinel_password: 'p' }, ['redis.sentinel_username']],
    [{ tls: { cert: 'c' } }, ['redis.tls.cert']],
    [{ username: 'u' }, ['redis.username']],
    [{ url: `http://${SECRET}` }, ['redis.url']],
    [{ url: 'redis://:p@h/1', password: 'p', database: 2 }, ['redis.url', 'redis.url']],
    [{ host: 'h', username: 'u', password: 'p', database: 3, tls: { enabled: true } }, []],
    [{ cluster_nodes: node, password: 'p' }, []],
  ])('finds what does not fit together: %j', (config, paths) => {
    const issues = checkRedis(parseConfig(redisFields, config), 'redis')
    expect(issues.map(({ path }) => path)).toEqual(paths)
    expect(JSON.stringify(issues)).not.toContain(SECRET)
  })
})
