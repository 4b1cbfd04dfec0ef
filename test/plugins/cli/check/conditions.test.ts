/** The conditions that the audit is there for, in the spellings in which they come, besides those of the fixtures. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { FIXTURES, findings } from './portcullis.ts'

const folder = mkdtempSync(join(tmpdir(), 'portcullis-check-conditions-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const base = readFileSync(`${FIXTURES}/base.yml`, 'utf8')
const variables = readFileSync(`${FIXTURES}/debug-log.good.env`, 'utf8')

const GUARD = '- name: llm-guard\n        config:\n          require: [llm-scope, llm-token-limit]\n'
const OLD = 'pc-issued:2020-01-31'

function change(text: string, from: string, to: string): string {
  if (!text.includes(from)) throw new Error(`the base has no ${from}`)
  return text.replace(from, to)
}

const onService = (plugin: string) => change(base, 'consumers:\n', `      - ${plugin}\nconsumers:\n`)
const inLua = (plugin: string, phase: string, lua: string) =>
  JSON.stringify({ name: plugin, config: { [phase]: [lua] } })
const onRoute = (plugin: string) =>
  change(base, 'protocols: [https]\n', `protocols: [https]\n        plugins:\n          - ${plugin}\n`)
const onBob = (more: string) => `${base}    ${more}\n`

it.each<readonly [what: string, rule: string, config: string]>([
  ['a route without auth', 'route-without-auth', scopeless(change(base, 'name: key-auth', 'name: cors'))],
  ['http, since nothing else was said', 'http-allowed', change(base, '        protocols: [https]\n', '')],
  ['a guard that requires nothing', 'guard-incomplete', change(base, '[llm-scope, llm-token-limit]', '[]')],
  [
    'a guard that a route overrides',
    'guard-incomplete',
    onRoute('{name: llm-guard, config: {require: [llm-token-limit]}}'),
  ],
  [
    'a guard that a consumer overrides',
    'guard-incomplete',
    onBob('plugins: [{name: llm-guard, config: {require: [llm-token-limit]}}]'),
  ],
  ['no guard', 'guard-missing', change(base, `      ${GUARD}`, '')],
  ...[
    '{name: ai-request-transformer, config: {prompt: x}}',
    '{name: ai-prompt-template, config: {templates: []}}',
    '{name: ai-prompt-decorator, config: {prompts: {}}}',
    '{name: ai-proxy, config: {route_type: llm/v1/chat}}',
    '{name: post-function, config: {access: ["kong.service.request.set_path(\'/x\')"]}}',
    '{name: request-transformer, config: {replace: {uri: /v1/images}}}',
    '{name: request-transformer, config: {http_method: POST}}',
    '{name: request-transformer, config: {rename: {headers: ["x-a:content-type"]}}}',
  ].map((plugin) => [`an edit behind llm-scope: ${plugin}`, 'edits-after-scope', onService(plugin)] as const),
  ...[
    '{name: ai-prompt-decorator, config: {prompts: {}}}',
    '{name: request-transformer, config: {replace: {body: ["max_tokens:99999"]}}}',
  ].map(
    (plugin) => [`an edit behind limits alone: ${plugin}`, 'edits-after-scope', scopeless(onService(plugin))] as const,
  ),
  ['an edit behind llm-gateway', 'edits-after-scope', inGateway('scope: {static: {alice: ["llm:*"]}}')],
  ['an edit behind the limits of llm-gateway', 'edits-after-scope', inGateway('')],
  ...['http-log', 'file-log', 'tcp-log', 'udp-log', 'syslog', 'loggly'].map(
    (name) => [`keys in ${name}`, 'keys-in-logs', onService(`name: ${name}`)] as const,
  ),
  ...[
    'kong.log.err(kong.request.get_raw_body())',
    'local b = ngx.req.get_body_data() ngx.log(ngx.ERR, b)',
    'print(kong.response.get_raw_body())',
  ].map(
    (lua) =>
      [`prompts that Lua logs: ${lua}`, 'prompts-in-logs', onService(inLua('pre-function', 'access', lua))] as const,
  ),
  ...[
    'kong.log.notice(kong.request.get_header("Authorization"))',
    'for k, v in pairs(ngx.req.get_headers()) do ngx.log(ngx.INFO, k, v) end',
    'kong.log.err(require("cjson").encode(kong.log.serialize()))',
    'kong.log.warn(ngx.var.request_uri)',
  ].map(
    (lua) => [`keys that Lua logs: ${lua}`, 'keys-in-logs', onService(inLua('post-function', 'log', lua))] as const,
  ),
  [
    'prompts in what ai-proxy logs',
    'prompts-in-logs',
    scopeless(onService('{name: ai-proxy, config: {logging: {log_payloads: true}}}')),
  ],
  [
    'prompts in what a transformer logs',
    'prompts-in-logs',
    onService('{name: ai-response-transformer, config: {llm: {logging: {log_payloads: true}}}}'),
  ],
  [
    'hide_credentials left at its default',
    'credentials-forwarded',
    change(base, '          hide_credentials: true\n', ''),
  ],
  ['a token that travels on', 'credentials-forwarded', onService('{name: jwt, config: {claims_to_verify: [exp]}}')],
  [
    'a token that need not end',
    'endless-tokens',
    change(onService('name: jwt'), 'name: llm-guard', 'name: llm-upstream\n      - name: llm-guard'),
  ],
  ...['proxy-cache', 'proxy-cache-advanced'].map(
    (name) =>
      [
        `answers of ${name}`,
        'cached-answers',
        onBob(`plugins: [{name: ${name}, config: {request_method: [POST]}}]`),
      ] as const,
  ),
  ['a password that travels on', 'credentials-forwarded', onService('name: basic-auth')],
  ['a key in clear', 'client-key-in-clear', onBob('keyauth_credentials: [{key: clear}]')],
  ['a JWT secret in clear', 'client-key-in-clear', onBob('jwt_secrets: [{key: iss, secret: clear}]')],
  ['a password in clear', 'client-key-in-clear', onBob('basicauth_credentials: [{username: bob, password: clear}]')],
  ['an HMAC secret in clear', 'client-key-in-clear', onBob('hmacauth_credentials: [{username: bob, secret: clear}]')],
  [
    'a provider’s key in ai-proxy',
    'secret-in-clear',
    scopeless(onService('{name: ai-proxy, config: {auth: {header_name: authorization, header_value: Bearer x}}}')),
  ],
  [
    'a provider’s key that callers bring along with a token',
    'provider-key-forwarded',
    change(
      change(base, '      - name: llm-key\n        config:\n          key_in_query: false\n', ''),
      'https://api.openai.com',
      'https://api.anthropic.com',
    ),
  ],
  ['a key over age', 'key-too-old', onBob(`keyauth_credentials: [{key: "\${{ env \\"K\\" }}", tags: ["${OLD}"]}]`)],
  ['a signing key over age', 'key-too-old', onBob(`jwt_secrets: [{key: iss, tags: ["${OLD}"]}]`)],
  [
    'a password over age',
    'key-too-old',
    onBob(`basicauth_credentials: [{username: bob, password: "\${{ env \\"K\\" }}", tags: ["${OLD}"]}]`),
  ],
  [
    'a key with two days, of which the first counts',
    'key-too-old',
    onBob(`jwt_secrets: [{key: iss, tags: ["pc-issued:2125-01-31", "${OLD}"]}]`),
  ],
  ...['tcp', 'tls', 'tls_passthrough', 'grpc', 'ws', 'wss'].map(
    (protocol) =>
      [
        `protocol ${protocol}`,
        'protocol-unmetered',
        change(base, 'protocols: [https]', `protocols: [${protocol}]`),
      ] as const,
  ),
  [
    'upgrades',
    'protocol-unmetered',
    change(base, 'name: llm-edge', 'name: llm-edge\n        config: {refuse_upgrade: false}'),
  ],
])('%s is %s', async (_, rule, config) => {
  expect(await rulesIn(config)).toEqual([rule])
})

it('tokens that llm-scope verifies by itself have an end', async () => {
  const judged = (mode: string) =>
    change(
      onService('name: jwt'),
      '          static:\n',
      `          mode: ${mode}\n          jwt: {issuers: [{issuer: 'https://i', audiences: [a], jwks_uri: 'https://i/jwks'}]}\n          static:\n`,
    )
  expect(await rulesIn(judged('enforce'))).not.toContain('endless-tokens')
  expect(await rulesIn(judged('shadow'))).toContain('endless-tokens')
})

it.each([
  'kong.log.err("no upstream")',
  'kong.log.info(kong.request.get_header("x-request-id"))',
  'if #kong.request.get_raw_body() > 9 then return kong.response.exit(413) end',
])('Lua that leaks nothing is no finding: %s', async (lua) => {
  expect(await rulesIn(onService(inLua('pre-function', 'access', lua)))).toEqual([])
})

/** With limits, and `more`, in llm-gateway, and an edit behind it. */
function inGateway(more: string): string {
  const limits = 'store: redis, redis: {host: redis}, limits: [{name: t, limit: 9, window_seconds: 60}]'
  const plugins = `- {name: llm-gateway, config: {${more === '' ? '' : `${more}, `}token_limit: {${limits}}}}\n      - {name: ai-prompt-decorator, config: {prompts: {}}}\n      `
  const single = /- name: llm-scope[\s\S]*(?=- name: llm-guard)/
  return change(base.replace(single, plugins), '[llm-scope, llm-token-limit]', '[llm-gateway]')
}

/** Without what refuses strangers, or edits, by itself. */
function scopeless(config: string): string {
  const scope = '      - name: llm-scope\n        config:\n          static:\n            alice: ["llm:*"]\n'
  return change(change(config, scope, ''), '[llm-scope, llm-token-limit]', '[llm-token-limit]')
}

it.each<readonly [what: string, rule: string, env: string]>([
  ['TLS 1.1 for callers', 'old-tls', 'KONG_SSL_PROTOCOLS=TLSv1.1 TLSv1.2'],
  ['TLS 1.0 for callers, in nginx’s words', 'old-tls', 'KONG_NGINX_HTTP_SSL_PROTOCOLS=TLSv1 TLSv1.2'],
  ['TLS 1.0 for the Admin API', 'old-tls', 'KONG_NGINX_ADMIN_SSL_PROTOCOLS=TLSv1 TLSv1.3'],
  ['TLS 1.1 to the provider', 'old-tls', 'KONG_NGINX_PROXY_PROXY_SSL_PROTOCOLS=TLSv1.1 TLSv1.2'],
  ['the suite with TLS 1.0', 'old-tls', 'KONG_SSL_CIPHER_SUITE=old'],
  ['no timeout', 'socket-timeout', 'KONG_NGINX_PROXY_LUA_SOCKET_READ_TIMEOUT='],
  ['Kong’s own timeout', 'socket-timeout', 'KONG_NGINX_PROXY_LUA_SOCKET_READ_TIMEOUT=60s'],
  ['a plugin that is not loaded', 'plugin-server', 'KONG_PLUGINS=bundled,llm-key,llm-edge,llm-guard,llm-token-limit'],
  ['a plugin that no name takes', 'plugin-server', 'KONG_PLUGINSERVER_NAMES=llm-token-limit'],
  ['a socket of its own', 'plugin-server', 'KONG_PLUGINSERVER_LLM_SCOPE_SOCKET=/usr/local/kong/other.socket'],
  [
    'two processes',
    'plugin-server',
    'KONG_PLUGINSERVER_LLM_SCOPE_START_CMD=node serve --socket /usr/local/kong/portcullis.socket',
  ],
  ['the dump of every plugin', 'plugin-server', 'KONG_PLUGINSERVER_LLM_SCOPE_QUERY_CMD=node portcullis-kong.cjs dump'],
])('%s is %s', async (_, rule, env) => {
  expect(await rulesIn(base, `${variables}${env}\n`)).toEqual([rule])
})

it.each([
  ['nothing says', undefined, true],
  ['it is off by default', '', false],
  ['it is off', 'KONG_TRACING_INSTRUMENTATIONS=off\n', false],
  ['it is on', 'KONG_TRACING_INSTRUMENTATIONS=balancer\n', true],
  ['its older name says so', 'KONG_OPENTELEMETRY_TRACING=all\n', true],
] as const)('addresses in traces where %s', async (_, env, found) => {
  const config = readFileSync(`${FIXTURES}/keys-in-traces.bad.yml`, 'utf8')
  const rules = env === undefined ? await rulesIn(config) : await rulesIn(config, `${variables}${env}`)
  expect(rules).toEqual(found ? ['keys-in-traces'] : [])
})

async function rulesIn(config: string, env?: string): Promise<readonly string[]> {
  const path = join(folder, 'kong.yml')
  writeFileSync(path, config)
  const environment = join(folder, 'kong.env')
  writeFileSync(environment, env ?? '')
  const found = await findings(env === undefined ? [path, '--no-env'] : [path, '--env', environment])
  return [...new Set(found.map(({ rule }) => rule))]
}
