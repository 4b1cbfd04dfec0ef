import { describe, expect, test } from 'vitest'
import { createRedactor, VENDORS } from '../../../policies/redaction/index.ts'

const redactor = createRedactor()
const mask = (text: string) => redactor.redact(text).text

test('at least 200 vendors are known', () => {
  expect(VENDORS.length).toBeGreaterThanOrEqual(200)
  expect(new Set(VENDORS).size).toBe(VENDORS.length)
})

const KEY_BODY = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj'
const PEM = `-----BEGIN RSA PRIVATE KEY-----\n${KEY_BODY}\n${KEY_BODY}\n-----END RSA PRIVATE KEY-----`
const JWT = `eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.${'aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5zA7bC9d'}`

test.each([
  [`key:\n${PEM}\nend`, 'key:\n[PRIVATE_KEY]\nend'],
  [`{"private_key": "${PEM.replaceAll('\n', '\\n')}"}`, '{"private_key": "[PRIVATE_KEY]"}'],
  [`sent ${JWT} along`, 'sent [JWT] along'],
  [`Authorization: Bearer ${JWT}`, 'Authorization: Bearer [JWT]'],
  ['password = "hunter2"', 'password = "[PASSWORD]"'],
  ['password: hunter2', 'password: [PASSWORD]'],
  ['Server=db;Uid=sa;Pwd=yT8$kd0pQ;', 'Server=db;Uid=sa;Pwd=[PASSWORD];'],
  ['postgres://app:x8Kd92mq@db:5432/app', 'postgres://[URL_CREDENTIALS]@db:5432/app'],
  ['curl -u admin:Sup3rS3cret https://x', 'curl -u [PASSWORD] https://x'],
  ['Authorization: Basic dXNlcjpzM2NyM3Q=', 'Authorization: Basic [AUTHORIZATION]'],
  ['kept 1//0Z8ylNHSZ_r7jHJHk5ztqud_KmTfsjNROiYssCiy09EnIoC2yYvOiQpSM2C for later', 'kept [GOOGLE_SECRET] for later'],
  ['GET /v1?access_token=9sk2mQ7xLp0aZ81b&page=2', 'GET /v1?access_token=[SECRET]&page=2'],
  [
    'kind: Secret\nmetadata:\n  name: a\ndata:\n  user: YWRtaW4xMjM0\n',
    'kind: Secret\nmetadata:\n  name: a\ndata:\n  user: [SECRET]\n',
  ],
])('masks %j', (text, expected) => {
  expect(mask(text)).toBe(expected)
})

test('a secret in base64 is masked as a whole', () => {
  const encoded = Buffer.from(`config:\n  aws_key: AKIA${'Q3X7'.repeat(4)}\n`).toString('base64')
  expect(mask(`data: ${encoded} end`)).toBe('data: [ENCODED_SECRET] end')
  const harmless = Buffer.from('The password policy is explained in the handbook, chapter two.').toString('base64')
  expect(mask(`data: ${harmless} end`)).toBe(`data: ${harmless} end`)
})

const variable = (name: string) => ['$', '{', name, '}'].join('')

describe('leaves alone', () => {
  test.each([
    'password = process.env.DB_PASSWORD',
    'const password = await prompt("Password: ")',
    'password: <your-password>',
    `password: "${variable('DB_PASSWORD')}"`,
    'api_key = "YOUR_API_KEY_HERE"',
    'token = "xxxxxxxxxxxxxxxxxxxx"',
    'type Options = { password: string; token?: string }',
    '"integrity": "sha512-9/u6bgY2+JDlb7vzKD5STG+jIErimDgtYkdB0NxmODJuKCxBvl5CVNiCB3LFUYosWowMf37aGVlKfrU5RT4e1w=="',
    'resolved "https://registry.yarnpkg.com/a/-/a-1.0.0.tgz#4a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b"',
    'const key = "d41d8cd98f00b204e9800998ecf8427e"',
    'publicKeyToken=b77a5c561934e089',
    'if (key === "ArrowLeft") keyCode = 37',
    'for (const token of tokenizer.tokens) parser.next(token)',
    'const header = "-----BEGIN PRIVATE KEY-----"; const footer = "-----END PRIVATE KEY-----"',
    `https://user:${variable('PASSWORD')}@host/path`,
    'import { keyboard } from "./monkey-author-passport"',
    'eyJust a word, not a token',
  ])('%j', (text) => {
    expect(redactor.find(text)).toEqual([])
  })
})

test('a block without its end is masked as far as it goes', () => {
  const text = `log: -----BEGIN OPENSSH PRIVATE KEY-----\n${KEY_BODY}\n${KEY_BODY}`
  expect(mask(text)).toBe('log: [PRIVATE_KEY]')
})

test('JSON inside JSON inside JSON, as tools and transcripts quote each other', () => {
  let text = JSON.stringify({ password: 'hunter2"xy\\z!', api_key: '9f8e7d6c5b4a39281706aabb', note: 'nothing' })
  for (let layers = 1; layers <= 5; layers++) {
    const masked = mask(text)
    expect(masked, `${layers} layers`).not.toMatch(/hunter2|xy|z!|9f8e7d/)
    expect(masked, `${layers} layers`).toContain('nothing')
    text = JSON.stringify({ text })
  }
})
