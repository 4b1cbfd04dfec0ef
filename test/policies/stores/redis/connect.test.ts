import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { CounterSpec } from '../../../../policies/stores/ports.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { createAuthority, type TestAuthority } from '../../../support/redis/certificates.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import { collectStoreEvents, type OpenedStore, openRedisStore } from '../../../support/redis/store.ts'
import { claimOf, HOUR, reserve, until } from './helpers.ts'

const SECRET = 'canary-7Kq2vX9'
const sliding: CounterSpec = { algorithm: 'sliding_window', limit: 100, windowSeconds: HOUR }
const asked = claimOf('consumer=1:a', sliding, 10)

describe.skipIf(!haveRedisServer('connecting to Redis'))('connecting to Redis', () => {
  const opened: OpenedStore[] = []
  afterEach(async () => {
    for (const { store } of opened.splice(0)) await store.close()
  })

  function open(redis: Record<string, unknown>): OpenedStore {
    const made = openRedisStore(redis)
    opened.push(made)
    return made
  }

  async function refusal({ store, lines }: OpenedStore): Promise<{ code: unknown; text: string }> {
    const fault = await store.ready().then(
      () => undefined,
      (error: unknown) => error,
    )
    const again = await reserve(store, asked).then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(again).toBe(fault)
    const code = fault instanceof Error && 'code' in fault ? fault.code : undefined
    return { code, text: inspect([fault, lines], { depth: 20, showHidden: true }) }
  }

  describe('with users and databases', () => {
    let server: RedisServer
    beforeAll(async () => {
      server = await startRedis({ args: ['--requirepass', SECRET], clientOptions: { password: SECRET } })
      await server.client().acl('SETUSER', 'gateway', 'on', `>${SECRET}`, '~limits:*', '+@all', '-@dangerous', '+info')
      await server.client().acl('SETUSER', 'reader', 'on', `>${SECRET}`, '~limits:*', '+@read', '+info', '+ping')
    })
    afterAll(() => server.close())

    it.each([
      ['a wrong password', { password: 'wrong-guess' }],
      ['no password', {}],
      ['a user that does not exist', { username: 'nobody', password: SECRET }],
      ['a user that may not run scripts', { username: 'reader', password: SECRET, key_prefix: 'limits:' }],
      ['a user that may not touch the keys', { username: 'gateway', password: SECRET, key_prefix: 'other:' }],
      ['a database that does not exist', { password: SECRET, database: 99 }],
    ])('refuses to start with %s, and says no secret', async (_, redis) => {
      const { events, stop } = collectStoreEvents()
      const { code, text } = await refusal(open({ port: server.port, ...redis }))
      stop()
      expect(code).toBe('store_refused')
      expect(text).toContain(`127.0.0.1:${server.port}`)
      expect(text).not.toContain(SECRET)
      expect(text).not.toContain('wrong-guess')
      expect(events).toMatchObject([{ state: 'down', reason: 'store_refused' }])
    })

    it('says no secret of a URL either', async () => {
      const { code, text } = await refusal(open({ url: `redis://gateway:wrong-guess@127.0.0.1:${server.port}/0` }))
      expect(code).toBe('store_refused')
      expect(text).not.toContain('wrong-guess')
    })

    it('serves as a user with few rights, under its prefix', async () => {
      const { store } = open({ port: server.port, username: 'gateway', password: SECRET, key_prefix: 'limits:' })
      await store.ready()
      expect((await reserve(store, asked)).admitted).toBe(true)
      expect(await server.client().keys('*')).toContain('limits:c{consumer=1:a}')
    })

    it('serves from a URL and a database, apart from others', async () => {
      const url = `redis://default:${encodeURIComponent(SECRET)}@127.0.0.1:${server.port}/3`
      const third = open({ url })
      const fourth = open({ port: server.port, password: SECRET, database: 4 })
      await reserve(third.store, asked)
      await reserve(third.store, asked)
      await reserve(fourth.store, asked)
      expect(await third.store.show('consumer=1:a')).toMatchObject([{ used: 20 }])
      expect(await fourth.store.show('consumer=1:a')).toMatchObject([{ used: 10 }])
    })

    it('serves once the password was repaired', async () => {
      await server.client().acl('SETUSER', 'late', 'on', '>another', '~*', '+@all')
      const { store } = open({ port: server.port, username: 'late', password: SECRET })
      await expect(store.ready()).rejects.toMatchObject({ code: 'store_refused' })
      await server.client().acl('SETUSER', 'late', `>${SECRET}`)
      await until(() =>
        reserve(store, asked).then(
          ({ admitted }) => admitted,
          () => false,
        ),
      )
    })
  })

  describe('with TLS', () => {
    let authority: TestAuthority
    let other: TestAuthority
    let server: RedisServer
    beforeAll(async () => {
      authority = createAuthority('Portcullis test')
      other = createAuthority('Somebody else')
      server = await startTls(['--tls-auth-clients', 'no'])
    })
    afterAll(async () => {
      await server.close()
      authority.remove()
      other.remove()
    })

    async function startTls(args: readonly string[]): Promise<RedisServer> {
      const { freePort } = await import('../../../support/redis/server.ts')
      const port = await freePort()
      const files = ['--tls-cert-file', authority.certFile, '--tls-key-file', authority.keyFile]
      return startRedis({
        port,
        args: ['--port', '0', '--tls-port', String(port), ...files, '--tls-ca-cert-file', authority.caFile, ...args],
      })
    }

    it('serves when the authority is the right one', async () => {
      const { store } = open({ port: server.port, tls: { enabled: true, ca: authority.ca } })
      await store.ready()
      expect((await reserve(store, asked)).admitted).toBe(true)
      const named = open({ url: `rediss://localhost:${server.port}`, tls: { ca: authority.ca } })
      expect((await reserve(named.store, asked)).admitted).toBe(true)
    })

    it('refuses to start with a wrong authority', async () => {
      const { code, text } = await refusal(open({ port: server.port, tls: { enabled: true, ca: other.ca } }))
      expect(code).toBe('store_untrusted')
      expect(text).not.toContain('BEGIN CERTIFICATE')
    })

    it('refuses to start when the certificate has another name', async () => {
      const tls = { enabled: true, ca: authority.ca, server_name: 'redis.example' }
      expect((await refusal(open({ port: server.port, tls }))).code).toBe('store_untrusted')
    })

    it('believes any certificate only when told to', async () => {
      const { store } = open({ port: server.port, tls: { enabled: true, ca: other.ca, verify: false } })
      expect((await reserve(store, asked)).admitted).toBe(true)
    })

    it('shows its own certificate to a server that asks', async () => {
      const strict = await startTls(['--tls-auth-clients', 'yes'])
      try {
        const tls = { enabled: true, ca: authority.ca, cert: authority.cert, key: authority.key }
        const { store } = open({ port: strict.port, tls })
        expect((await reserve(store, asked)).admitted).toBe(true)
      } finally {
        await strict.close()
      }
    })
  })
})
