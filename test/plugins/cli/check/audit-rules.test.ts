import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { auditLog } from '../../../../policies/audit/index.ts'
import { parsePolicyConfig } from '../../../../policies/schema/parse.ts'
import { FIXTURES, findings, ROOT } from './portcullis.ts'

const folder = mkdtempSync(join(tmpdir(), 'portcullis-check-audit-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const read = (name: string) => readFileSync(`${FIXTURES}/${name}`, 'utf8')

function fileOf(content: string, name: string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

describe('audit-not-logged', () => {
  const config = read('audit-not-logged.bad.yml')
  const variables = read('audit-not-logged.bad.env')

  async function found(level: string | undefined, content = config): Promise<string[]> {
    const env = level === undefined ? variables : `${variables}KONG_LOG_LEVEL=${level}\n`
    const seen = await findings([fileOf(content, 'kong.yml'), '--env', fileOf(env, 'node.env')])
    return seen.filter(({ rule, acknowledged }) => rule === 'audit-not-logged' && !acknowledged).map(({ what }) => what)
  }

  it.each(['notice', 'warn', 'error', 'crit', 'alert', 'emerg'])('finds level %s', async (level) => {
    expect(await found(level)).toEqual([
      'KONG_LOG_LEVEL is above info, and llm-audit-log writes its records to standard output',
    ])
  })

  it('finds a level that is not set, since Kong’s own is notice', async () => {
    for (const level of [undefined, ''])
      expect(await found(level)).toEqual([
        'KONG_LOG_LEVEL is not set, and llm-audit-log writes its records to standard output',
      ])
  })

  it.each(['info', 'debug'])('finds nothing at level %s', async (level) => {
    expect(await found(level)).toEqual([])
  })

  it.each([
    ['/dev/null', undefined, ['KONG_NGINX_HTTP_ERROR_LOG is not set']],
    ['/dev/null', '/dev/stderr', ['KONG_NGINX_HTTP_ERROR_LOG does not keep level info']],
    ['/dev/null', '/dev/stderr notice', ['KONG_NGINX_HTTP_ERROR_LOG does not keep level info']],
    ['/dev/null info', '/dev/null info', ['KONG_NGINX_HTTP_ERROR_LOG does not keep level info']],
    ['/dev/null', '/dev/stderr info', []],
    ['/dev/null', 'logs/error.log debug', []],
    ['/dev/stderr', undefined, []],
  ])('with requests logged to %s looks at the log %s', async (own, http, expected) => {
    const more = `KONG_PROXY_ERROR_LOG=${own}\n${http === undefined ? '' : `KONG_NGINX_HTTP_ERROR_LOG=${http}\n`}`
    const seen = await findings([
      fileOf(config, 'kong.yml'),
      '--env',
      fileOf(`${variables}KONG_LOG_LEVEL=info\n${more}`, 'node.env'),
    ])
    expect(seen.filter(({ rule }) => rule === 'audit-not-logged').map(({ what }) => what.split(',')[0])).toEqual(
      expected,
    )
  })

  it('looks at standard output alone, in llm-gateway as well, and at what runs', async () => {
    const file = config.replace('- type: stdout', '- {type: file, path: /var/log/audit.ndjson}')
    expect(await found('notice', file)).toEqual([])
    const both = config.replace(
      '- type: stdout',
      '- {type: file, path: /var/log/audit.ndjson}\n            - type: stdout',
    )
    expect(await found('notice', both)).toHaveLength(1)
    const off = config.replace('- name: llm-audit-log', '- name: llm-audit-log\n        enabled: false')
    expect(await found('notice', off)).toEqual([])
    const gateway = config.replace(
      '- name: llm-audit-log\n        config:\n          sinks:\n            - type: stdout',
      '- name: llm-gateway\n        config: {audit: {sinks: [{type: stdout}]}}',
    )
    expect(await found('notice', gateway)).toEqual([
      'KONG_LOG_LEVEL is above info, and llm-gateway writes its records to standard output',
    ])
  })

  it('finds nothing where Kong does not start the plugin server, whose output is then somebody else’s', async () => {
    const elsewhere = variables.replace(/^KONG_PLUGINSERVER_\w+_START_CMD=.*\n/m, '')
    const seen = await findings([fileOf(config, 'kong.yml'), '--env', fileOf(elsewhere, 'node.env')])
    expect(seen).toEqual([])
  })

  it('is acknowledged where the sink stands', async () => {
    const tagged = config.replace(
      '- name: llm-audit-log',
      '- name: llm-audit-log\n        tags: ["portcullis-ack:audit-not-logged"]',
    )
    expect(await found('notice', tagged)).toEqual([])
  })
})

describe('error-log', () => {
  const good = read('error-log.good.env')
  async function found(env: string): Promise<string[]> {
    const seen = await findings([`${FIXTURES}/base.yml`, '--env', fileOf(env, 'node.env')])
    return seen.filter(({ rule }) => rule === 'error-log').map(({ what }) => what)
  }

  it('finds each log of all other lines that is missing', async () => {
    for (const name of ['KONG_NGINX_MAIN_ERROR_LOG', 'KONG_NGINX_HTTP_ERROR_LOG'])
      for (const log of ['', '/dev/null', '/dev/null info'])
        expect(await found(good.replace(new RegExp(`^${name}=.*$`, 'm'), `${name}=${log}`))).toEqual([
          `${name} takes no lines, and KONG_PROXY_ERROR_LOG is /dev/null`,
        ])
  })

  it('finds a log that a reload of Kong loses', async () => {
    for (const name of ['KONG_NGINX_MAIN_ERROR_LOG', 'KONG_NGINX_HTTP_ERROR_LOG'])
      for (const log of ['/dev/stderr', '/dev/stderr info', 'stderr info', '/proc/self/fd/2 info'])
        expect(await found(good.replace(new RegExp(`^${name}=.*$`, 'm'), `${name}=${log}`))).toEqual([
          `${name} is lost with the first reload, as KONG_PROXY_ERROR_LOG is /dev/null`,
        ])
    for (const log of ['/dev/stdout info', '/dev/stderr.log info', '/var/log/kong/pack.log info'])
      expect(await found(good.replace(/^KONG_NGINX_HTTP_ERROR_LOG=.*$/m, `KONG_NGINX_HTTP_ERROR_LOG=${log}`))).toEqual(
        [],
      )
  })

  it('finds a log of requests that somebody forgot', async () => {
    for (const name of ['KONG_NGINX_PROXY_ERROR_LOG', 'KONG_NGINX_LOCATION_ERROR_LOG']) {
      expect(await found(`${good}${name}=/dev/stderr error\n`)).toEqual([`${name} logs requests with their query`])
      expect(await found(`${good}${name}=/dev/null\n`)).toEqual([])
    }
  })

  it('leaves logs alone that are as Kong has them', async () => {
    for (const own of ['', '/dev/stderr', 'logs/error.log', '/dev/null.log'])
      expect(await found(`KONG_PROXY_ERROR_LOG=${own}\nKONG_NGINX_PROXY_ERROR_LOG=/dev/stderr\n`)).toEqual([])
  })
})

describe('audit-lines-cut', () => {
  const config = read('audit-lines-cut.bad.yml')
  const found = async (content: string) => (await findings([fileOf(content, 'kong.yml')])).map(({ what }) => what)

  it('finds content on standard output, in llm-gateway as well', async () => {
    expect(await found(config)).toEqual(['llm-audit-log writes redacted content to standard output'])
    const gateway = config
      .replace(
        '- name: llm-audit-log\n        config:\n          content: redacted\n          sinks:\n            - type: stdout',
        '- name: llm-gateway\n        config: {audit: {content: redacted, sinks: [{type: file, path: /a}, {type: stdout}]}}',
      )
      .replace('llm-audit-log, llm-scope', 'llm-gateway, llm-scope')
    expect(await found(gateway)).toEqual(['llm-gateway writes redacted content to standard output'])
  })

  it('finds lines that may be longer than the log keeps', async () => {
    const longer = (bytes: number) =>
      config
        .replace('content: redacted', 'content: none')
        .replace('type: stdout', `type: stdout\n              max_line_bytes: ${bytes}`)
    expect(await found(longer(3900))).toEqual([])
    expect(await found(longer(3901))).toEqual(['llm-audit-log writes lines of more than 3900 bytes to standard output'])
  })

  it('takes the sink’s own default for what has room', () => {
    const { sinks } = parsePolicyConfig(auditLog, { sinks: [{ type: 'stdout' }] })
    expect(sinks[0]?.max_line_bytes).toBe(3900)
  })

  it('leaves records alone that are short, or go elsewhere', async () => {
    expect(await found(config.replace('content: redacted', 'content: none'))).toEqual([])
    expect(
      await found(config.replace('content: redacted', 'content: hash\n          hash_key: "{vault://env/k}"')),
    ).toEqual([])
    expect(
      await found(config.replace('- type: stdout', '- {type: http, url: "https://otel.example/v1/logs"}')),
    ).toEqual([])
    const off = config.replace('- name: llm-audit-log', '- name: llm-audit-log\n        enabled: false')
    expect(await found(off)).not.toContain('llm-audit-log writes redacted content to standard output')
  })
})

it('advises no level at which Kong keeps nothing of what a plugin server prints', async () => {
  const [debug] = await findings([`${FIXTURES}/base.yml`, '--env', `${FIXTURES}/debug-log.bad.env`])
  expect(debug?.fix).toBe('Set KONG_LOG_LEVEL=info.')
  for (const page of ['README.md', 'kong/check.md', 'kong/kong.env', 'kong/kubernetes/values.yaml'])
    expect(readFileSync(join(ROOT, page), 'utf8')).not.toMatch(/log_level\W*(info or )?notice/i)
})
