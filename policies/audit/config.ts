/** The config of `llm-audit-log`: the one declaration, and the combinations that make no sense. */

import { checkRedaction, redactionFields } from '../redaction/index.ts'
import { boolean, choice, integer, list, map, number, record, string } from '../schema/declare.ts'
import { type Config, type ConfigIssue, defineFields } from '../schema/fields.ts'
import { operationFields } from '../token-limit/operation-fields.ts'

const sinkFields = defineFields({
  type: { type: choice('stdout', 'file', 'http'), description: 'Where this sink writes.', required: true },
  path: {
    type: string({ maxLength: 4096, pattern: { js: '^/', lua: '^/' } }),
    description: 'With `file`: absolute path. The directory must exist and be writable; one file per gateway node.',
  },
  max_bytes: {
    type: integer({ min: 4096, max: 1_099_511_627_776 }),
    description: 'With `file`: rotate before the file grows past this many bytes.',
    default: 104_857_600,
  },
  daily: { type: boolean(), description: 'With `file`: also rotate when a new day begins in UTC.', default: true },
  keep: {
    type: integer({ min: 0, max: 100_000 }),
    description: 'With `file`: how many rotated files stay; older ones are deleted. 0 keeps all.',
    default: 0,
  },
  url: {
    type: string({ maxLength: 4096, pattern: { js: '^https?://', lua: '^https?://' }, secret: true }),
    description: 'With `http`: where batches are posted. Redirects are not followed.',
  },
  headers: {
    type: map(string({ maxLength: 8192, secret: true })),
    description: 'With `http`: further request headers by name, such as `authorization`.',
    default: {},
  },
  format: {
    type: choice('ndjson', 'otlp'),
    description: 'With `http`: one JSON object a line, or OTLP/HTTP logs as JSON (post to `/v1/logs`).',
    default: 'ndjson',
  },
  max_line_bytes: {
    type: integer({ min: 2048, max: 16_777_216 }),
    description:
      'With `stdout`: longest line in bytes. Content is cut so that a record fits; one that is longer without any is lost, and counted. Kong cuts longer lines than the default wherever they are; on Express Gateway it may be raised.',
    default: 3900,
  },
  batch_records: {
    type: integer({ min: 1, max: 10_000 }),
    description: 'Most records that are written or posted at once.',
    default: 256,
  },
  flush_ms: {
    type: integer({ min: 0, max: 60_000 }),
    description: 'Longest time in milliseconds that a record waits for others to be written with it.',
    default: 200,
  },
  queue_bytes: {
    type: integer({ min: 65_536, max: 1_073_741_824 }),
    description: 'Most bytes of records that wait in memory; further ones are dropped, counted and reported.',
    default: 16_777_216,
  },
  timeout_ms: {
    type: integer({ min: 100, max: 120_000 }),
    description: 'With `http`: how long one post may take, in milliseconds.',
    default: 10_000,
  },
})

export const fields = defineFields({
  sinks: {
    type: list(record(sinkFields), { minItems: 1, maxItems: 8 }),
    description: 'Where records go; every sink gets every record.',
    required: true,
  },
  content: {
    type: choice('none', 'redacted', 'hash'),
    description:
      'What a record holds of the request body: nothing, the text after redaction, or a keyed hash of its bytes.',
    default: 'none',
  },
  max_content_bytes: {
    type: integer({ min: 256, max: 1_048_576 }),
    description: 'With `content: redacted`: most bytes of the redacted text; cut after redaction.',
    default: 16_384,
  },
  hash_key: {
    type: string({ minLength: 16, maxLength: 1024, secret: true }),
    description: 'Secret of `content: hash` and of the hash of a token’s subject, at least 16 bytes.',
  },
  redaction: {
    type: record(redactionFields),
    description: 'How content and client-chosen names are redacted.',
    required: true,
  },
  models: {
    type: list(string({ maxLength: 256 }), { maxItems: 1000 }),
    description:
      'Globs of model names that are written as they are, besides those of well-known families; others become a placeholder, since a client may write anything there.',
    default: [],
  },
  sample: {
    type: number({ min: 0, max: 1 }),
    description: 'Fraction of requests that is recorded, chosen at random.',
    default: 1,
  },
  only_on: {
    type: list(choice('refused', 'would_reject', 'errors', 'cut_short', 'unobserved')),
    description:
      'Record only requests that were refused, that shadow mode would have refused, that ended with a status of 400 or more, that were cut short, or whose usage nobody saw. Empty: all.',
    default: [],
  },
  skip_routes: {
    type: list(string({ maxLength: 256 }), { maxItems: 1000 }),
    description: 'Names or ids of routes whose requests are not recorded.',
    default: [],
  },
  operations: {
    type: list(record(operationFields), { maxItems: 256 }),
    description: 'Further operations to recognise, where an API hangs at a path that the pack does not know.',
    default: [],
  },
  max_body_bytes: {
    type: integer({ min: 1024, max: 67_108_864 }),
    description:
      'Largest request body that is looked into, in bytes; larger ones are recorded without model and content.',
    default: 1_048_576,
  },
  chain: {
    type: record({
      key: {
        type: string({ minLength: 16, maxLength: 1024, secret: true }),
        description: 'Secret of the chain, at least 16 bytes; `portcullis audit verify` needs it.',
        required: true,
      },
    }),
    description: 'Chain the records of every file sink, so that an edit or removal can be found.',
  },
})

export type AuditConfig = Config<typeof fields>
export type SinkConfig = AuditConfig['sinks'][number]

/** What the field kinds cannot say. */
export function check(config: AuditConfig): readonly ConfigIssue[] {
  const issues: ConfigIssue[] = checkRedaction(config.redaction).map(({ path, message }) => ({
    path: `redaction.${path}`,
    message,
  }))
  const paths = new Set<string>()
  for (const [index, sink] of config.sinks.entries()) {
    const at = `sinks[${index}]`
    const needs = (member: 'path' | 'url', type: SinkConfig['type']): void => {
      if (sink.type === type && sink[member] === undefined)
        issues.push({ path: `${at}.${member}`, message: `is needed with \`type: ${type}\`` })
      if (sink.type !== type && sink[member] !== undefined)
        issues.push({ path: `${at}.${member}`, message: `makes sense with \`type: ${type}\` only` })
    }
    needs('path', 'file')
    needs('url', 'http')
    if (sink.url !== undefined && !isUrl(sink.url))
      issues.push({ path: `${at}.url`, message: 'is no URL without credentials' })
    if (sink.path !== undefined && paths.has(sink.path))
      issues.push({ path: `${at}.path`, message: 'is the file of another sink' })
    if (sink.path !== undefined) paths.add(sink.path)
    if (!Object.keys(sink.headers).every((name) => /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name)))
      issues.push({ path: `${at}.headers`, message: 'holds a name that is no header name' })
    if (!Object.values(sink.headers).every((value) => /^[\t\x20-\x7e]*$/.test(value)))
      issues.push({ path: `${at}.headers`, message: 'holds a value that is no header value' })
  }
  if (config.content === 'hash' && config.hash_key === undefined)
    issues.push({ path: 'hash_key', message: 'is needed with `content: hash`' })
  if (config.chain !== undefined && paths.size === 0)
    issues.push({ path: 'chain', message: 'makes sense with a file sink only' })
  return issues
}

function isUrl(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { username, password } = new URL(text)
  return username === '' && password === ''
}
