import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { createDeps } from '../../../plugins/deps.ts'
import { adaptPolicy } from '../../../plugins/express-gateway/adapter.ts'
import type { EgPolicy, EgRequest } from '../../../plugins/express-gateway/eg.ts'
import { llmKey } from '../../../plugins/express-gateway/llm-key.ts'
import { createSpy } from './support/spy.ts'
import { QUIET } from './support/stage.ts'

const deps = createDeps({ logger: QUIET })
const services = { credential: { getCredential: async () => null } }
const spy = createSpy()

it.each([
  llmKey({ logger: QUIET, newId: deps.random.id, synchronousConditions: [] }),
  adaptPolicy(spy.policy, { deps, services, synchronousConditions: [], observers: { attach() {}, watch() {} } }),
])('$name answers a request that is in no pipeline as every other fault', async (policy: EgPolicy) => {
  let passed = 0
  const middleware = policy.policy({}, { gatewayConfig: {} })
  const server = createServer((request, response) => middleware(request as EgRequest, response, () => passed++))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(() => void server.close())
  const reply = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/models`)
  expect([reply.status, reply.headers.get('cache-control')]).toEqual([503, 'no-store'])
  expect(reply.headers.get('x-request-id')).toMatch(/^\S{22}$/)
  expect(await reply.json()).toMatchObject({ error: { code: 'policy_unavailable' } })
  expect([passed, spy.seen]).toEqual([0, []])
})
