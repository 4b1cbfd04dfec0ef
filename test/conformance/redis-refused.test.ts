/** A Redis that refuses the config is no outage: every gateway stays shut, whatever `on_store_error` says, and tells why. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { bundle } from '../../plugins/kong/bundle.ts'
import { ask, PROXY, setStage } from '../plugins/express-gateway/support/stage.ts'
import { llmRequest, startServer, tokenLimitConfig } from '../plugins/kong/process-harness.ts'
import { createWorker } from '../support/kong-client/worker.ts'
import { haveRedisServer } from '../support/redis/backends.ts'
import { type RedisServer, startRedis } from '../support/redis/server.ts'

const PASSWORD = 'canary-wrong-5Tg'
const LIMITS = [{ name: 'tokens', limit: 1000, window_seconds: 60 }]

describe.skipIf(!haveRedisServer('a Redis that refuses the password'))('with a wrong password for Redis', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis({ args: ['--requirepass', 'right'], clientOptions: { password: 'right' } })
  })
  afterAll(() => redis.close())

  const config = () => ({
    store: 'redis',
    on_store_error: 'allow',
    redis: { host: redis.host, port: redis.port, password: PASSWORD },
    limits: LIMITS,
  })

  it('a portcullis-kong server lets nothing through, and logs the reason without the password', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-refused-'))
    await bundle(folder)
    const server = await startServer(join(folder, 'portcullis-kong.cjs'), join(folder, 's'))
    const worker = createWorker({ socket: join(folder, 's') })
    onTestFinished(async () => {
      worker.close()
      server.child.kill('SIGKILL')
      await server.exit
      rmSync(folder, { recursive: true })
    })
    for (let times = 0; times < 3; times++) {
      const request = llmRequest()
      expect(await worker.access(request, tokenLimitConfig('a', 1, config()))).toBe('exited')
      expect(request.reply?.status).toBe(503)
      expect(request.reply?.body).toContain('policy_unavailable')
      expect(request.reply?.body).not.toContain(PASSWORD)
    }
    await vi.waitFor(() => expect(server.stderr()).toContain('refuses the user or password of the config'))
    expect(server.stderr()).not.toContain(PASSWORD)
    expect(server.child.exitCode).toBeNull()
  })

  it('an Express Gateway lets nothing through, and logs the reason without the password', async () => {
    const written: string[] = []
    const spy = vi.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text)) > 0)
    onTestFinished(() => spy.mockRestore())
    const log = (_level: string, message: string) => void written.push(message)
    const limit = { 'llm-token-limit': { action: config() } }
    const stage = await setStage({ policies: [{ 'llm-key': null }, { 'key-auth': null }, limit, PROXY], log })
    for (let times = 0; times < 3; times++) {
      const reply = await ask(stage)
      expect(reply.status).toBe(503)
      const text = await reply.text()
      expect(text).toContain('policy_unavailable')
      expect(text).not.toContain(PASSWORD)
    }
    expect(stage.model.requests).toEqual([])
    expect(written.join('')).toContain('refuses the user or password of the config')
    expect(written.join('')).not.toContain(PASSWORD)
  })
})
