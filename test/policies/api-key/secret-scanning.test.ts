import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { RE2JS } from 're2js'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { systemRandom } from '../../../plugins/deps.ts'
import { generateKey, KEY_PATTERN, newKeyId, parseKey } from '../../../policies/api-key/index.ts'
import { createRedactor } from '../../../policies/redaction/index.ts'
import { ROOT, readText } from '../../support/sources.ts'

const FOLDER = 'policies/api-key/secret-scanning'
const read = (name: string) => readFileSync(join(ROOT, FOLDER, name), 'utf8')

const KEYS = Array.from({ length: 500 }, (_, index) =>
  generateKey(['live', 'test', 'a', 'z9'.repeat(8)][index % 4] ?? '', newKeyId(systemRandom), systemRandom),
)
const [KEY = ''] = KEYS
/** How keys leak. */
const CONTEXTS: readonly ((key: string) => string)[] = [
  (key) => key,
  (key) => `OPENAI_API_KEY=${key}\n`,
  (key) => `const client = new OpenAI({ apiKey: '${key}' })`,
  (key) => `Authorization: Bearer ${key}\r\n`,
  (key) => `https://gateway/v1beta/models?key=${key}&alt=sse`,
  (key) => `{"key":"${key}"}`,
  (key) => `see ${key}.`,
]
const NEAR_MISSES: readonly string[] = [
  KEY.slice(0, -1),
  `${KEY}a`,
  `x${KEY}`,
  KEY.toUpperCase(),
  KEY.replace('pc_', 'pk_'),
  KEY.replace('pc_', 'pc-'),
  KEY.replace('_', '-'),
  KEY.replace(/^pc_[a-z0-9]+_/, 'pc_'),
  KEY.replace(/^pc_[a-z0-9]+_/, 'pc_Live_'),
  KEY.replace(/^pc_[a-z0-9]+_/, `pc_${'a'.repeat(17)}_`),
  KEY.replace(/_[^_]{16}_/, '_short_'),
  `${KEY.slice(0, 30)}-${KEY.slice(31)}`,
  'pc_live_KEY',
  'pc_<env>_<id>_<secret><checksum>',
  'grpc_live_service_name_that_is_long_enough_to_look_like_something_else_entirely',
]

/** Of one TOML literal string, the whole of what these rules are made of. */
function tomlString(text: string, name: string): string {
  return new RegExp(`^${name} = '''(.+)'''$`, 'm').exec(text)?.[1] ?? ''
}

describe('gitleaks', () => {
  const text = read('gitleaks.toml')
  // gitleaks matches with RE2.
  const rule = RE2JS.compile(tomlString(text, 'regex'))
  const secretIn = (content: string) => {
    const matcher = rule.matcher(content)
    return matcher.find() ? matcher.group(1) : undefined
  }

  it('finds every key, wherever it leaks', () => {
    for (const key of KEYS) for (const context of CONTEXTS) expect(secretIn(context(key))).toBe(key)
  })

  it.each(NEAR_MISSES)('does not take %s for one', (miss) => expect(secretIn(miss)).toBeUndefined())

  it('looks only where its keyword is', () => {
    expect(text).toContain('keywords = ["pc_"]')
    expect(KEYS.filter((key) => !key.includes('pc_'))).toEqual([])
    expect(tomlString(text, 'regex')).toContain(KEY_PATTERN)
  })
})

describe('GitHub', () => {
  const { patterns } = parse(read('github.yml')) as {
    patterns: readonly { regex: { pattern: string; start: string; end: string } }[]
  }
  const { pattern = '', start = '', end = '' } = patterns[0]?.regex ?? {}
  const rule = RE2JS.compile(`(?:${start})(${pattern})(?:${end})`)
  const secretIn = (content: string) => {
    const matcher = rule.matcher(content)
    return matcher.find() ? matcher.group(1) : undefined
  }

  it('finds every key, wherever it leaks', () => {
    expect(pattern).toBe(KEY_PATTERN)
    for (const key of KEYS) for (const context of CONTEXTS) expect(secretIn(context(key))).toBe(key)
  })

  it.each(NEAR_MISSES)('does not take %s for one', (miss) => expect(secretIn(miss)).toBeUndefined())
})

it('says how to tell a key by its checksum', () => {
  for (const name of ['gitleaks.toml', 'github.yml']) expect(read(name)).toContain('CRC-32 (IEEE 802.3)')
  expect(KEYS.filter((key) => parseKey(key) === undefined)).toEqual([])
})

it('is packed', () => {
  expect((JSON.parse(readText('package.json')) as { files: readonly string[] }).files).toContain(FOLDER)
})

it('is a secret to the redactor too, wherever it stands', () => {
  const redactor = createRedactor()
  for (const key of KEYS) {
    for (const context of CONTEXTS) expect(redactor.redact(context(key)).text).not.toContain(key.slice(-40))
    expect(redactor.redact(`The key ${key} leaked.`).text).toBe('The key [PORTCULLIS_SECRET] leaked.')
  }
})
