import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { startModel } from '../../support/model/index.ts'
import { startGateway } from './support/gateway.ts'
import { llmConfig } from './support/llm-config.ts'
import { ask, LIMIT, PROXY, type StageOptions, setStage, TEN_THOUSAND } from './support/stage.ts'

const KEY = { 'llm-key': null }
const AUTH = { 'key-auth': null }
const SCHEMA = { name: 'json-schema', schema: { $id: 'x', type: 'object' }, logErrors: false }

function limitBehind(condition: object): object {
  return { 'llm-token-limit': { condition, action: TEN_THOUSAND } }
}

describe('refuses to start', () => {
  it.each<readonly [string, readonly object[], RegExp]>([
    [
      'behind json-schema',
      [AUTH, limitBehind(SCHEMA), PROXY],
      /llm-token-limit stands behind the condition json-schema/,
    ],
    ['behind json-schema in allOf', [AUTH, limitBehind({ name: 'allOf', conditions: [SCHEMA] }), PROXY], /json-schema/],
    ['behind json-schema in not', [AUTH, limitBehind({ name: 'not', condition: SCHEMA }), PROXY], /json-schema/],
    [
      'with key-auth behind json-schema',
      [{ 'key-auth': { condition: SCHEMA, action: {} } }, LIMIT, PROXY],
      /key-auth stands behind/,
    ],
    [
      'after proxy',
      [AUTH, PROXY, LIMIT],
      /no proxy policy comes after it.*proxy comes before it and answers every request/,
    ],
    ['after terminate', [{ terminate: null }, LIMIT, PROXY], /terminate comes before it/],
    ['without proxy', [AUTH, LIMIT], /no proxy policy comes after it/],
    ['before key-auth', [LIMIT, AUTH, PROXY], /key-auth must come before it/],
    ['llm-key after key-auth', [AUTH, KEY, LIMIT, PROXY], /llm-key refuses to start.*key-auth must come after it/],
    [
      'before a body transformer',
      [AUTH, LIMIT, { 'request-transformer': { action: { body: { add: { max_tokens: '9' } } } } }, PROXY],
      /request-transformer/,
    ],
    [
      'with followRedirects',
      [AUTH, LIMIT, { proxy: { action: { serviceEndpoint: 'model', followRedirects: true } } }],
      /followRedirects/,
    ],
    [
      'with forward',
      [AUTH, LIMIT, { proxy: { action: { serviceEndpoint: 'model', forward: 'http://127.0.0.1:1' } } }],
      /forward/,
    ],
    [
      'with proxies that map paths differently',
      [
        AUTH,
        LIMIT,
        {
          proxy: [{ action: { serviceEndpoint: 'model', stripPath: true } }, { action: { serviceEndpoint: 'model' } }],
        },
      ],
      /map paths differently/,
    ],
    [
      'twice with one config',
      [AUTH, LIMIT, LIMIT, PROXY],
      /llm-token-limit refuses to start. pipeline llm: it stands there twice with the same config/,
    ],
    [
      'twice with one config, spelt out and not, once behind a condition',
      [
        AUTH,
        LIMIT,
        {
          'llm-token-limit': {
            condition: { name: 'method', methods: 'POST' },
            action: { ...TEN_THOUSAND, mode: 'enforce' },
          },
        },
        PROXY,
      ],
      /it stands there twice with the same config/,
    ],
  ])('%s', async (_, policies, message) => {
    await expect(setStage({ policies })).rejects.toThrow(message)
  })

  it('behind another plugin’s condition, unless the operator vouches for it', async () => {
    const schema = { $id: 'http://test/mine.json', type: 'object' }
    const handler = { name: 'mine', schema, handler: () => () => true }
    const policies = [AUTH, limitBehind({ name: 'mine' }), PROXY]
    const refused = setStage({ policies, condition: { handler, vouched: false } })
    await expect(refused).rejects.toThrow("list it in the plugin's synchronous_conditions")
    await setStage({ policies, condition: { handler, vouched: true } })
  })

  it('with a config that Portcullis cannot take, naming the field', async () => {
    const rule = { name: 'tokens', limit: 10, window_seconds: 60, per: ['model'] }
    const policies = [AUTH, { 'llm-token-limit': { action: { limits: [rule] } } }, PROXY]
    await expect(setStage({ policies })).rejects.toThrow(/limits\[0\]\.per\[0\]: needs a caller part/)
  })

  it('with a config that its JSON Schema refuses', async () => {
    const lines: string[] = []
    const policies = [AUTH, { 'llm-token-limit': { action: { limits: [], extra: 1 } } }, PROXY]
    await expect(setStage({ policies, log: (_, line) => lines.push(line) })).rejects.toThrow(
      'POLICY_PARAMS_VALIDATION_FAILED',
    )
    expect(lines.join('\n')).toMatch(/llm-token-limit.*params validation failed/)
  })
})

describe('starts', () => {
  it.each<readonly [string, StageOptions]>([
    [
      'behind a condition that decides at once',
      { policies: [KEY, AUTH, limitBehind({ name: 'method', methods: 'POST' }), PROXY] },
    ],
    [
      'with a proxy for some paths before it',
      {
        policies: [
          KEY,
          AUTH,
          { proxy: { condition: { name: 'pathExact', path: '/health' }, action: { serviceEndpoint: 'model' } } },
          LIMIT,
          PROXY,
        ],
      },
    ],
    [
      'twice, behind conditions',
      {
        policies: [
          KEY,
          AUTH,
          limitBehind({ name: 'method', methods: 'POST' }),
          limitBehind({ name: 'method', methods: 'PUT' }),
          PROXY,
        ],
      },
    ],
    [
      'with header transformers on both sides',
      {
        policies: [
          { 'request-transformer': { action: { headers: { add: { 'x-a': "'1'" } } } } },
          KEY,
          AUTH,
          LIMIT,
          { 'request-transformer': { action: { headers: { add: { 'x-b': "'2'" } } } } },
          PROXY,
        ],
      },
    ],
  ])('%s', async (_, options) => {
    const stage = await setStage(options)
    const reply = await ask(stage)
    expect([reply.status, reply.headers.get('x-ratelimit-limit-tokens')]).toEqual([200, '10000'])
  })
})

describe('through the gateway’s own plugin loader', () => {
  const ENTRY = new URL('../../../plugins/express-gateway/index.ts', import.meta.url).pathname

  it('loads with require, although it is an ES module', async () => {
    const model = await startModel()
    onTestFinished(() => model.close())
    const lines: string[] = []
    const gateway = await startGateway({
      plugin: { package: ENTRY, settings: { synchronous_conditions: ['always'] } },
      consumers: [{ username: 'ada' }],
      config: llmConfig({ upstreamUrl: model.url, tokenLimit: TEN_THOUSAND }),
      log: (_, line) => lines.push(line),
    })
    onTestFinished(() => gateway.stop())
    expect(lines.filter((line) => line.includes('Loaded plugin portcullis'))).toHaveLength(1)
    const reply = await ask({ gateway, model })
    expect([reply.status, reply.headers.get('x-ratelimit-limit-tokens')]).toEqual([200, '10000'])
  })

  it('a plugin that cannot load leaves the door shut', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'portcullis-plugin-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    writeFileSync(join(directory, 'index.cjs'), 'throw new Error("broken")')
    const config = llmConfig({ upstreamUrl: 'http://127.0.0.1:1', tokenLimit: TEN_THOUSAND })
    const plugin = { package: join(directory, 'index.cjs') }
    await expect(startGateway({ plugin, config })).rejects.toThrow('POLICY_NOT_FOUND')
  })
})
