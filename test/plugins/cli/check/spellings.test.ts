/** Configurations as operators write them, in which something is easily overlooked or wrongly blamed. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { EXIT } from '../../../../plugins/cli/io.ts'
import { FIXTURES, findings, portcullis } from './portcullis.ts'

const folder = mkdtempSync(join(tmpdir(), 'portcullis-check-spellings-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const base = readFileSync(`${FIXTURES}/base.yml`, 'utf8')
const KEY_AUTH = '- name: key-auth\n        config:\n          key_in_query: false\n          hide_credentials: true\n'
const SCOPE = '      - name: llm-scope\n        config:\n          static:\n            alice: ["llm:*"]\n'

function change(text: string, from: string, to: string): string {
  if (!text.includes(from)) throw new Error(`the text has no ${from}`)
  return text.replace(from, to)
}

/** As deck fills it in. */
const filledIn = (name: string) => `\${{ env "${name}" }}`

let files = 0
function fileOf(content: string): string {
  const path = join(folder, `${++files}.yml`)
  writeFileSync(path, content)
  return path
}

async function rulesIn(content: string): Promise<string[]> {
  return [...new Set((await findings([fileOf(content), '--no-env'])).map(({ rule }) => rule))]
}

const scopeless = (text: string) => change(change(text, SCOPE, ''), '[llm-scope, llm-token-limit]', '[llm-token-limit]')
const onService = (plugin: string, text = base) => change(text, 'consumers:\n', `      - ${plugin}\nconsumers:\n`)
const onBob = (more: string, text = base) => `${text}    ${more}\n`
const routeTo = (url: string) =>
  `_format_version: "3.0"\nservices: [{name: o, url: '${url}', tls_verify: true, routes: [{name: o, protocols: [https]}]}]\n`

describe('words of YAML 1.1 that Kong takes for true and false', () => {
  it.each(['no', 'No', 'NO', 'off', 'Off', 'OFF', 'false'])('switch a guard off with %s', async (word) => {
    const content = change(base, '- name: llm-guard\n', `- name: llm-guard\n        enabled: ${word}\n`)
    expect(await rulesIn(content)).toEqual(['guard-missing'])
  })

  it.each(['yes', 'Yes', 'YES', 'on', 'On', 'ON', 'true'])('hide credentials with %s', async (word) => {
    expect(await rulesIn(change(base, 'hide_credentials: true', `hide_credentials: ${word}`))).toEqual([])
  })

  it('are text in quotes', async () => {
    expect(await rulesIn(change(base, 'hide_credentials: true', 'hide_credentials: "yes"'))).toEqual([
      'credentials-forwarded',
    ])
  })
})

describe('strangers', () => {
  const anonymous = (text = base) =>
    change(text, 'hide_credentials: true\n', 'hide_credentials: true\n          anonymous: bob\n')
  const KEYS = '{name: llm-api-key, config: {rotation: {max_age_days: 90}, store: redis, redis: {host: redis}}}'
  const withKeys = anonymous(
    change(scopeless(onService(KEYS)), 'require: [llm-token-limit]', 'require: [llm-token-limit, llm-api-key]'),
  )

  it('pass a session that they do not have', async () => {
    const content = change(scopeless(base), `      ${KEY_AUTH}`, '      - name: session\n')
    expect(await rulesIn(content)).toEqual(['route-without-auth'])
    expect(await rulesIn(onService('name: session', anonymous(scopeless(base))))).toEqual(['anonymous-allowed'])
  })

  it('are refused by llm-api-key, unless it is another one for the anonymous consumer', async () => {
    expect(await rulesIn(withKeys)).toEqual([])
    const lax = KEYS.replace('config: {', 'config: {on_missing_key: pass, ')
    expect(await rulesIn(onBob(`plugins: [${lax}]`, withKeys))).toEqual(['anonymous-allowed'])
  })

  it('are refused by llm-scope, unless it grants something to the anonymous consumer', async () => {
    expect(await rulesIn(anonymous())).toEqual([])
    expect(await rulesIn(change(anonymous(), 'tags: [gold]', 'tags: ["llm:chat"]'))).toEqual(['anonymous-allowed'])
    expect(await rulesIn(change(anonymous(), 'anonymous: bob', 'anonymous: alice'))).toEqual(['anonymous-allowed'])
    const aliases = change(anonymous(), 'static:\n', 'aliases:\n            gold: ["llm:*"]\n          static:\n')
    expect(await rulesIn(aliases)).toEqual(['anonymous-allowed'])
  })

  it('are refused by request-termination, unless that waits for a trigger', async () => {
    const ended = (config: string) =>
      onBob(`plugins: [{name: request-termination, config: ${config}}]`, anonymous(scopeless(base)))
    expect(await rulesIn(ended('{status_code: 401}'))).toEqual([])
    expect(await rulesIn(ended('{status_code: 401, trigger: x-end}'))).toEqual(['anonymous-allowed'])
  })
})

describe('where a service leads', () => {
  it.each([
    'https://us-central1-aiplatform.googleapis.com',
    'https://api.openai.com./v1',
    'https://mine.cognitiveservices.azure.com',
    'https://bedrock-runtime.us-east-1.amazonaws.com',
    'https://models.inference.ai.azure.com',
  ])('is to a model: %s', async (url) => {
    expect(await rulesIn(routeTo(url))).toEqual(['route-without-auth'])
  })

  it.each(['https://notopenai.com', 'https://openai.com.example.org', 'https://storage.googleapis.com'])(
    'is not to a model: %s',
    async (url) => {
      expect(await rulesIn(routeTo(url))).toEqual([])
    },
  )

  it('does not matter where it is switched off', async () => {
    const off = change(routeTo('https://api.openai.com'), '{name: o, url', '{name: o, enabled: false, url')
    expect(await rulesIn(off)).toEqual([])
  })

  it('is not known while deck has not filled it in, which is said', async () => {
    const path = fileOf(routeTo(filledIn('DECK_OPENAI_URL')))
    const { code, out, err } = await portcullis(['check', path, '--no-env', '--json', '--strict'])
    expect(code).toBe(EXIT.findings)
    expect(err).toContain('filled in from environment variables')
    expect((JSON.parse(out) as { notJudged: object[] }).notJudged).toContainEqual(
      expect.objectContaining({ rules: expect.arrayContaining(['upstream-unverified']) }),
    )
  })
})

describe('secrets by their place', () => {
  const plain = 'e3b0c44298fc1c149afbf4c8996fb924'
  it.each(['x-api-key', 'api-key', 'Authorization', 'x-goog-api-key'])('in %s of llm-upstream', async (header) => {
    const sent = (value: string) => onService(`{name: llm-upstream, config: {headers: {${header}: '${value}'}}}`)
    expect(await rulesIn(sent(plain))).toEqual(['secret-in-clear'])
    expect(await rulesIn(sent('{vault://env/key}'))).toEqual([])
    expect(await rulesIn(sent(filledIn('DECK_KEY')))).toEqual([])
  })

  it('in certificates and vaults', async () => {
    const key = (value: string) => `${base}certificates: [{cert: public, key: '${value}'}]\n`
    expect(await rulesIn(key('-----BEGIN PRIVATE KEY-----'))).toEqual(['secret-in-clear'])
    expect(await rulesIn(key('{vault://env/tls-key}'))).toEqual([])
    const vault = (token: string) =>
      `${base}vaults: [{name: hcv, prefix: h, config: {host: vault, token: '${token}'}}]\n`
    expect(await rulesIn(vault(`hvs.${plain}`))).toEqual(['secret-in-clear'])
    expect(await rulesIn(vault(filledIn('DECK_TOKEN')))).toEqual([])
  })
})

describe('ai-proxy', () => {
  const proxy = (auth: string) =>
    scopeless(
      onService(
        `{name: ai-proxy, config: {route_type: llm/v1/chat, auth: ${auth}}}`,
        change(base, `      ${KEY_AUTH}`, '      - {name: jwt, config: {claims_to_verify: [exp]}}\n'),
      ),
    )

  it('puts its own key in the place of a caller’s token', async () => {
    expect(await rulesIn(proxy(`{header_name: Authorization, header_value: '${filledIn('DECK_KEY')}'}`))).toEqual([])
  })

  it('lets a caller’s key stand where it allows an override', async () => {
    const found = await rulesIn(
      proxy(`{header_name: Authorization, header_value: '${filledIn('DECK_KEY')}', allow_override: true}`),
    )
    expect(found.toSorted()).toEqual(['credentials-forwarded', 'provider-key-forwarded'])
  })
})

describe('plugins of Kong Enterprise', () => {
  it.each([
    '{name: request-transformer-advanced, config: {replace: {body: ["model:o1"]}}}',
    '{name: ai-proxy-advanced, config: {targets: []}}',
    '{name: jq, config: {request_jq_program: ".model = 1"}}',
  ])('edit requests: %s', async (plugin) => {
    expect(await rulesIn(onService(plugin))).toEqual(['edits-after-scope'])
  })

  it.each([
    '{name: request-transformer-advanced, config: {add: {headers: ["openai-project:x"]}}}',
    '{name: jq, config: {response_jq_program: ".x"}}',
  ])('edit none: %s', async (plugin) => {
    expect(await rulesIn(onService(plugin))).toEqual([])
  })

  it('authenticate, and log', async () => {
    expect(await rulesIn(change(scopeless(base), KEY_AUTH, '- name: key-auth-enc\n'))).not.toContain(
      'route-without-auth',
    )
    expect(await rulesIn(onService('name: kafka-log'))).toEqual(['keys-in-logs'])
  })
})

describe('files', () => {
  it('may be of format 2.1, which Kong 3.9 reads', async () => {
    expect(await rulesIn(change(base, '"3.0"', '"2.1"'))).toEqual([])
  })

  it.each<readonly [what: string, content: string, why: RegExp]>([
    ['a list that is none', change(base, 'services:\n  - name', 'services:\n    name'), /:\d+: services is no list/],
    ['plugins by name', `${base}plugins: {key-auth: {}}\n`, /:\d+: plugins is no list/],
    ['plugins that are words', `${base}plugins: [key-auth]\n`, /:\d+: plugins is no list/],
  ])('are refused with %s, instead of judged without it', async (_, content, why) => {
    const { code, out, err } = await portcullis(['check', fileOf(content)])
    expect({ code, out }).toEqual({ code: EXIT.failed, out: '' })
    expect(err).toMatch(why)
  })

  it('may have the empty objects with which Kong exports empty lists', async () => {
    expect(await rulesIn(`${base}plugins: {}\nupstreams: {}\n`)).toEqual([])
  })

  it('are of one workspace', async () => {
    const [one, other] = ['team-a', 'team-b'].map((name) => fileOf(`_workspace: ${name}\n${base}`))
    const { code, err } = await portcullis(['check', String(one), String(other)])
    expect(code).toBe(EXIT.failed)
    expect(err).toContain('different workspaces')
    expect((await portcullis(['check', String(one), '--no-env'])).code).toBe(EXIT.ok)
  })

  it('name a consumer by its user name, whoever has that as custom id', async () => {
    const content = change(
      base,
      '  - username: bob\n',
      '    plugins: [{name: llm-guard, config: {require: [llm-scope]}}]\n  - username: bob\n    custom_id: alice\n',
    )
    const found = await findings([fileOf(content), '--no-env'])
    expect(found.map(({ what }) => what)).toEqual([expect.stringContaining('consumer "alice"')])
    const flat = `${change(base, 'username: bob\n', 'username: bob\n    custom_id: alice\n')}plugins: [{name: llm-guard, consumer: alice, config: {require: [llm-scope]}}]\n`
    const named = await findings([fileOf(flat), '--no-env'])
    expect(named.map(({ what }) => what)).toEqual([expect.stringContaining('consumer "alice"')])
  })
})
