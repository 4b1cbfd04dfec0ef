import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeJwt, decodeProtectedHeader, exportPKCS8, generateKeyPair } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tokensIn } from '../../../../plugins/cli/commands/tokens/index.ts'
import { EXIT } from '../../../../plugins/cli/io.ts'
import { run } from '../../../../plugins/cli/program.ts'
import { createDeps } from '../../../../plugins/deps.ts'
import { fingerprintOf } from '../../../../policies/api-key/index.ts'
import { createRuntime } from '../../../../policies/runtime.ts'
import { parsePolicyConfig } from '../../../../policies/schema/parse.ts'
import { scope } from '../../../../policies/scope/index.ts'
import { chat, exchange, STRANGER } from '../../../policies/scope/support.ts'
import { haveRedisServer } from '../../../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../../../support/redis/server.ts'
import {
  DAY,
  type Recording,
  type RecordingOptions,
  recording,
  START,
  temporaryFolder,
  testWorld,
} from '../keys/support.ts'

const ROOT = new URL('../../../..', import.meta.url).pathname
const world = testWorld()

async function tokens(args: readonly string[], options: RecordingOptions = {}): Promise<Recording & { code: number }> {
  const io = recording(options)
  const code = await run(['tokens', ...args], io, [tokensIn(async () => world)])
  return Object.assign(io, { code })
}

async function newKey(alg = 'ES256'): Promise<string> {
  const path = join(temporaryFolder(), 'signing.jwk')
  expect((await tokens(['key', 'new', '--out', path, '--alg', alg])).code).toBe(EXIT.ok)
  return path
}

const NAMES = ['--issuer', 'https://tokens.test', '--audience', 'llm', '--subject', 'ci']

const issue = (key: string, ...more: string[]) => tokens(['issue', '--key', key, ...NAMES, ...more])

describe('tokens key new', () => {
  it('makes a file for its owner alone, and prints nothing of it', async () => {
    const path = join(temporaryFolder(), 'signing.jwk')
    const done = await tokens(['key', 'new', '--out', path, '--json'])
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const key = JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>
    expect(JSON.parse(done.outText)).toEqual({ file: path, kid: key.kid, alg: 'ES256' })
    expect(done.outText + done.errText).not.toContain(key.d)
  })

  it('overwrites nothing and follows no link', async () => {
    const folder = temporaryFolder()
    const [there, link] = [join(folder, 'there'), join(folder, 'link')]
    writeFileSync(there, 'mine')
    symlinkSync(join(folder, 'nowhere'), link)
    for (const path of [there, link]) expect((await tokens(['key', 'new', '--out', path])).code).toBe(EXIT.failed)
    expect(readFileSync(there, 'utf8')).toBe('mine')
    expect(existsSync(join(folder, 'nowhere'))).toBe(false)
  })
})

/** The real policy, with what `tokens jwks` printed in its config. */
async function gate(jwks: string, alg: string) {
  const config = parsePolicyConfig(scope, {
    jwt: {
      issuers: [{ issuer: 'https://tokens.test', jwks, audiences: ['llm'], algorithms: [alg], types: ['at+jwt'] }],
    },
  })
  const instance = scope.create(config, { ...createDeps({ runtime: createRuntime() }), clock: world.clock })
  return async (token: string, model: string) =>
    instance.decide(
      exchange({ headers: { authorization: `Bearer ${token}` }, body: chat({ model }), caller: STRANGER }),
    )
}

describe.each(['ES256', 'RS256', 'EdDSA'])('tokens issue with %s', (alg) => {
  it('makes what llm-scope takes, for the models of its scope', async () => {
    const key = await newKey(alg)
    const issued = await issue(key, '--scope', 'llm:chat:gpt-4o-*', '--scope', 'llm:embeddings:read')
    expect(issued.code).toBe(EXIT.ok)
    const token = issued.outText.trim()
    expect(decodeProtectedHeader(token)).toMatchObject({ alg, typ: 'at+jwt' })
    expect(decodeJwt(token)).toMatchObject({
      iss: 'https://tokens.test',
      aud: 'llm',
      sub: 'ci',
      client_id: 'ci',
      scope: 'llm:chat:gpt-4o-* llm:embeddings:read',
      iat: START / 1000,
      exp: START / 1000 + 3600,
    })
    expect(issued.errText).not.toContain(token)
    const jwks = (await tokens(['jwks', key])).outText
    expect(jwks).not.toMatch(/"(d|p|q|dp|dq|qi)":/)
    const decide = await gate(jwks, alg)
    expect(await decide(token, 'gpt-4o-mini')).toMatchObject({ type: 'pass' })
    expect(await decide(token, 'gpt-5')).toMatchObject({ type: 'reject', code: 'insufficient_scope' })
    const other = (await issue(await newKey(alg), '--scope', 'llm:*')).outText.trim()
    expect(await decide(other, 'gpt-5')).toMatchObject({ type: 'reject', code: 'invalid_token' })
    const late = (await issue(key, '--scope', 'llm:*', '--ttl', '1s')).outText.trim()
    world.now += 10_000
    expect(await decide(late, 'gpt-5')).toMatchObject({ type: 'reject', code: 'invalid_token' })
    world.now -= 10_000
  })
})

describe('tokens issue', () => {
  it('gives every token an id of its own', async () => {
    const key = await newKey()
    const ids = await Promise.all(
      [1, 2, 3].map(async () => decodeJwt((await issue(key, '--scope', 'llm:chat')).outText).jti),
    )
    expect(new Set(ids).size).toBe(3)
  })

  it('takes a PEM file, and names its key by thumbprint', async () => {
    const path = join(temporaryFolder(), 'key.pem')
    const { privateKey } = await generateKeyPair('ES256', { extractable: true })
    writeFileSync(path, await exportPKCS8(privateKey), { mode: 0o600 })
    const token = (await issue(path, '--scope', 'llm:chat')).outText.trim()
    const jwks = (await tokens(['jwks', path])).outText
    expect((JSON.parse(jwks) as { keys: { kid: string }[] }).keys[0]?.kid).toBe(decodeProtectedHeader(token).kid)
    expect(await (await gate(jwks, 'ES256'))(token, 'gpt-5')).toMatchObject({ type: 'pass' })
  })

  it('writes to a file for its owner alone, and says nothing of it', async () => {
    const out = join(temporaryFolder(), 'token')
    const issued = await issue(await newKey(), '--scope', 'llm:chat', '--out', out, '--json')
    const token = readFileSync(out, 'utf8').trim()
    expect(statSync(out).mode & 0o777).toBe(0o600)
    expect(decodeJwt(token).jti).toBe((JSON.parse(issued.outText) as { jti: string }).jti)
    expect(issued.outText + issued.errText).not.toContain(token)
  })

  it.each([
    ['a scope that is no grant', ['--scope', 'llm:chat', '--scope', 'chat:*'], '--scope: number 2'],
    ['no scope', ['--scope', ' '], '--scope'],
    ['a life over the limit', ['--scope', 'llm:chat', '--ttl', '25h'], '--max-ttl'],
    ['no life', ['--scope', 'llm:chat', '--ttl', '0s'], '--ttl'],
    ['a life that is none', ['--scope', 'llm:chat', '--ttl', '1 hour'], '--ttl'],
    ['a subject with a line end', ['--scope', 'llm:chat', '--subject', 'a\nb'], '--subject'],
    ['an empty issuer', ['--scope', 'llm:chat', '--issuer', ''], '--issuer'],
  ])('refuses %s', async (_, args, message) => {
    const refused = await issue(await newKey(), ...args)
    expect(refused).toMatchObject({ code: EXIT.failed, outText: '' })
    expect(refused.errText).toContain(message)
  })

  it('takes a longer life when it is asked twice', async () => {
    const issued = await issue(await newKey(), '--scope', 'llm:chat', '--ttl', '7d', '--max-ttl', '7d')
    expect(decodeJwt(issued.outText).exp).toBe(START / 1000 + (7 * DAY) / 1000)
  })

  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({ type: 'pkcs8', format: 'pem' })
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export({ type: 'pkcs8', format: 'pem' })
  const publicPem = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' })
  it.each([
    ['a weak RSA key', String(weak), 'less than 2048 bits'],
    ['another curve', String(p384), 'holds no key for'],
    ['a public key', String(publicPem), 'no private key'],
    ['a secret key', JSON.stringify({ kty: 'oct', k: 'c2VjcmV0LWNhbmFyeQ', d: 'x' }), 'holds no key for'],
    [
      'another algorithm',
      JSON.stringify({ kty: 'EC', crv: 'P-256', x: 'a', y: 'b', d: 'secret-canary', alg: 'none' }),
      'no key for',
    ],
    ['a broken key', JSON.stringify({ kty: 'EC', crv: 'P-256', x: 'a', y: 'b', d: 'secret-canary' }), 'cannot be used'],
    ['what is no key', 'secret-canary', 'neither'],
    ['a cut PEM', '-----BEGIN PRIVATE KEY-----\nsecret-canary\n', 'no private key'],
  ])('refuses %s without quoting it', async (_, text, message) => {
    const path = join(temporaryFolder(), 'key')
    writeFileSync(path, text, { mode: 0o600 })
    const refused = await issue(path, '--scope', 'llm:chat')
    expect(refused).toMatchObject({ code: EXIT.failed, outText: '' })
    expect(refused.errText).toContain(message)
    expect(refused.errText).not.toMatch(/secret-canary|c2VjcmV0/)
  })

  it.each([0o604, 0o622, 0o644])('refuses a key file of mode %o', async (mode) => {
    const key = await newKey()
    chmodSync(key, mode)
    expect((await issue(key, '--scope', 'llm:chat')).errText).toContain('chmod 600')
    chmodSync(key, 0o640)
    expect((await issue(key, '--scope', 'llm:chat')).code).toBe(EXIT.ok)
  })
})

describe('tokens jwks', () => {
  it('puts old and new keys, private and public, into one set', async () => {
    const [first, second] = [await newKey(), await newKey('RS256')]
    const published = join(temporaryFolder(), 'old.json')
    writeFileSync(published, (await tokens(['jwks', first])).outText, { mode: 0o644 })
    const { keys } = JSON.parse((await tokens(['jwks', second, published])).outText) as { keys: { alg: string }[] }
    expect(keys.map(({ alg }) => alg)).toEqual(['RS256', 'ES256'])
    expect((await tokens(['jwks', first, published])).errText).toContain('same kid')
  })
})

describe('tokens jwks --serve', () => {
  it('serves the set until it is told to stop', { timeout: 90_000 }, async () => {
    const key = await newKey()
    const args = ['--import', 'tsx', join(ROOT, 'plugins/cli/main.ts'), 'tokens', 'jwks', key, '--serve', '127.0.0.1:0']
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'pipe'] })
    try {
      let said = ''
      for await (const chunk of child.stderr) {
        said += String(chunk)
        if (said.includes('jwks.json\n')) break
      }
      const url = /http:\S+/.exec(said)?.[0] ?? ''
      const reply = await fetch(url)
      expect(reply.headers.get('content-type')).toBe('application/jwk-set+json')
      expect(await reply.text()).toBe((await tokens(['jwks', key])).outText)
      expect((await fetch(new URL('/signing.jwk', url))).status).toBe(404)
      expect((await fetch(url, { method: 'POST', body: 'x' })).status).toBe(405)
      const over = once(child, 'exit')
      child.kill('SIGTERM')
      expect(await over).toEqual([EXIT.ok, null])
    } finally {
      child.kill('SIGKILL')
    }
  })

  it.each(['8800:127.0.0.1', 'localhost', '127.0.0.1:99999', '203.0.113.7:8800'])('refuses %s', async (address) => {
    expect((await tokens(['jwks', await newKey(), '--serve', address])).code).toBe(EXIT.failed)
  })
})

describe.skipIf(!haveRedisServer('the deny list in Redis'))('tokens revoke', () => {
  let redis: RedisServer
  let url: string
  beforeAll(async () => {
    redis = await startRedis()
    url = `redis://127.0.0.1:${redis.port}`
  })
  afterAll(() => redis.close())

  const deny = (args: readonly string[], options: RecordingOptions = {}) => tokens([...args, '--redis', url], options)

  async function revoked() {
    const { revoked: all } = JSON.parse((await deny(['revoked', '--json'])).outText) as {
      revoked: { kind: string; value: string; issuer: string | null; reason: string; expires_at: string | null }[]
    }
    return all
  }

  it('ends one token that llm-scope then refuses, without showing it', async () => {
    const key = await newKey()
    const token = (await issue(key, '--scope', 'llm:*')).outText.trim()
    world.now = Date.now()
    const fresh = (await issue(key, '--scope', 'llm:*')).outText.trim()
    const done = await deny(['revoke', '--token', '--reason', 'leaked on a wiki', '--json'], { input: `${fresh}\n` })
    expect(done.code).toBe(EXIT.ok)
    expect(done.outText + done.errText).not.toContain(fresh)
    const { jti, exp = 0 } = decodeJwt(fresh)
    expect(await revoked()).toContainEqual(
      expect.objectContaining({
        kind: 'jti',
        value: jti,
        issuer: 'https://tokens.test',
        reason: 'leaked on a wiki',
        expires_at: new Date((exp + 300) * 1000).toISOString(),
      }),
    )
    const jwks = (await tokens(['jwks', key])).outText
    const config = parsePolicyConfig(scope, {
      jwt: { issuers: [{ issuer: 'https://tokens.test', jwks, audiences: ['llm'] }] },
      revocation: { store: 'redis', redis: { url } },
    })
    const runtime = createRuntime()
    const instance = scope.create(config, createDeps({ runtime, logger: { info() {}, warn() {}, error() {} } }))
    const decide = (bearer: string) =>
      instance.decide(exchange({ headers: { authorization: `Bearer ${bearer}` }, caller: STRANGER }))
    try {
      expect(await decide(fresh)).toMatchObject({
        type: 'reject',
        code: 'invalid_token',
        message: 'The token was revoked.',
      })
      const other = (await issue(key, '--scope', 'llm:*')).outText.trim()
      expect(await decide(other)).toMatchObject({ type: 'pass' })
    } finally {
      await runtime.close()
    }
    // Issued when this test's clock stood still, long ago.
    expect((await deny(['revoke', '--token', token])).errText).toContain('has expired')
    world.now = START
  })

  it('ends subjects, consumers and credentials, and lifts again', async () => {
    world.now = Date.now()
    await deny(['revoke', '--sub', 'eve', '--issuer', 'https://idp.test', '--for', '2h'])
    await deny(['revoke', '--consumer', 'mallory', '--reason', 'left'])
    await deny(['revoke', '--credential', 'ab12'])
    const key = await deny(['revoke', '--api-key'], { input: 'sk-the-key-itself\n' })
    expect(key.outText + key.errText).not.toContain('sk-the-key')
    const all = await revoked()
    expect(all).toContainEqual(expect.objectContaining({ kind: 'sub', value: 'eve', issuer: 'https://idp.test' }))
    expect(all).toContainEqual(expect.objectContaining({ kind: 'consumer', value: 'mallory', expires_at: null }))
    expect(all).toContainEqual(expect.objectContaining({ kind: 'credential', value: 'ab12' }))
    expect(all).toContainEqual(
      expect.objectContaining({ kind: 'credential', value: fingerprintOf('sk-the-key-itself') }),
    )
    expect((await deny(['revoked'])).outText).toContain('mallory')
    expect((await deny(['lift', '--consumer', 'mallory'])).code).toBe(EXIT.ok)
    expect((await deny(['lift', '--consumer', 'mallory'])).code).toBe(EXIT.findings)
    expect((await revoked()).map(({ value }) => value)).not.toContain('mallory')
    world.now = START
  })

  it.each([
    ['two at a time', ['--jti', 'a', '--sub', 'b'], undefined],
    ['nothing', [], undefined],
    ['an issuer of a consumer', ['--consumer', 'a', '--issuer', 'b'], undefined],
    ['what is no token', ['--token'], 'secret-canary'],
    ['no input', ['--token'], ' '],
    ['two tokens', ['--token'], 'secret-canary\nb'],
    [
      'a token without jti',
      ['--token'],
      `${btoa('{"alg":"ES256"}')}.${btoa('{"sub":"secret-canary"}').replaceAll('=', '')}.AA`,
    ],
    ['an empty name', ['--sub', ''], undefined],
  ])('refuses %s', async (_, args, input) => {
    const before = (await revoked()).length
    const refused = await deny(['revoke', ...args], input === undefined ? {} : { input })
    expect(refused.code).toBe(EXIT.failed)
    expect(refused.errText).not.toContain('secret-canary')
    expect((await revoked()).length).toBe(before)
  })

  it('says that the store is not there', async () => {
    const refused = await tokens(['revoke', '--jti', 'a', '--redis', 'redis://:hunter2@127.0.0.1:1'])
    expect(refused.code).toBe(EXIT.failed)
    expect(refused.errText).not.toContain('hunter2')
  })
})
