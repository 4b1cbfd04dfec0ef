/** The JSON Schema of a record, as a value and as a published file. */

import { CODES } from '../errors.ts'
import { SCHEMA_VERSION } from './record.ts'

const text = (description: string, more: object = {}) => ({ type: 'string', minLength: 1, description, ...more })
const count = (description: string) => ({ type: 'integer', minimum: 0, description })
const millis = (description: string) => ({ type: 'number', minimum: 0, description })
const status = (description: string) => ({ type: 'integer', minimum: 100, maximum: 599, description })
const hex = (description: string) => ({ type: 'string', pattern: '^[0-9a-f]+$', description })

export const auditRecordSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://portcullis.dev/schemas/audit-record-1.json',
  title: 'Portcullis audit record',
  type: 'object',
  additionalProperties: false,
  required: ['schema', 'time', 'portcullis.decision', 'portcullis.ended', 'portcullis.usage.source'],
  properties: {
    schema: { const: SCHEMA_VERSION, description: 'Name and version of this schema.' },
    time: text('When the request came, RFC 3339 in UTC.', {
      pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d{3}Z$',
    }),
    'portcullis.request.id': text('The id that the caller sees as `x-request-id`.'),
    'portcullis.decision': {
      enum: ['pass', 'reject', 'unknown'],
      description: 'What became of the request at the gateway.',
    },
    'portcullis.policy': text('The policy that refused; `other` when it was none of this pack.'),
    'portcullis.code': { enum: Object.keys(CODES), description: 'Why it was refused.' },
    'portcullis.rule': text('Name of the limit that had no room, or the scope that was missing, without its model.'),
    'portcullis.would_reject': {
      type: 'array',
      minItems: 1,
      items: { enum: Object.keys(CODES) },
      description: 'What shadow mode held back.',
    },
    'portcullis.would_reject.rules': {
      type: 'array',
      minItems: 1,
      items: { type: 'string' },
      description: 'The limit or scope of each of them, in their order; empty for one without.',
    },
    'portcullis.ended': {
      enum: ['complete', 'client_gone', 'upstream_failed', 'not_forwarded', 'ended_early', 'unknown'],
      description: 'How it ended; `ended_early` is `enforce_stream`.',
    },
    'portcullis.route.id': text('The gateway’s id of the route.'),
    'portcullis.route.name': text('The gateway’s name of the route.'),
    'portcullis.service.id': text('The gateway’s id of the service.'),
    'portcullis.service.name': text('The gateway’s name of the service.'),
    'user.id': text('The consumer’s id.'),
    'user.name': text('The consumer’s user name.'),
    'user.hash': hex('Keyed hash of a token’s issuer and subject.'),
    'portcullis.credential.id': text('The credential’s id, never the credential.'),
    'portcullis.credential.fingerprint': text('Hash of the credential.'),
    'client.address': text('By the gateway’s trusted-proxy setting.'),
    'http.request.method': text('In upper case; `_OTHER` for one that HTTP does not know.'),
    'http.response.status_code': status('What the caller got.'),
    'portcullis.upstream.status_code': status('What the upstream answered.'),
    'error.type': text('A code of this pack, `client_gone`, `upstream_failed`, or the status.'),
    'gen_ai.operation.name': text(
      '`chat`, `text_completion`, `embeddings`, `generate_content`, or the pack’s own name.',
    ),
    'gen_ai.provider.name': text('Whose API was called.'),
    'gen_ai.request.model': text('As asked for; a placeholder when it looks like no model’s name.'),
    'gen_ai.request.stream': { type: 'boolean', description: 'Whether a stream was asked for.' },
    'gen_ai.request.max_tokens': count('The largest output limit that the request declares, over all candidates.'),
    'gen_ai.request.choice.count': count('How many candidates are asked for, when more than one.'),
    'gen_ai.usage.input_tokens': count('As reported, cached ones included.'),
    'gen_ai.usage.output_tokens': count('As reported, reasoning included.'),
    'gen_ai.usage.cache_read.input_tokens': count('Input tokens read from a cache.'),
    'gen_ai.usage.cache_creation.input_tokens': count('Input tokens written to a cache.'),
    'gen_ai.usage.reasoning.output_tokens': count('Output tokens that were reasoning.'),
    'portcullis.usage.source': {
      enum: ['reported', 'delivered', 'none', 'unobserved'],
      description: 'How usage is known: by the provider, by the text that passed, nothing was used, or not at all.',
    },
    'portcullis.usage.estimated.input_tokens': count('Estimated when the request was admitted.'),
    'portcullis.usage.estimated.output_tokens': count('Reserved when the request was admitted.'),
    'portcullis.usage.delivered.output_tokens': count('Estimated from the text that the caller got.'),
    'portcullis.duration_ms': millis('From the first byte of the request to the end of the reply.'),
    'portcullis.upstream.duration_ms': millis('Until the head of the upstream’s reply.'),
    'portcullis.content.request': { type: 'string', description: 'The request body after redaction.' },
    'portcullis.content.request.truncated': { const: true, description: 'The request was longer than is kept.' },
    'portcullis.content.request.findings': {
      type: 'object',
      additionalProperties: { type: 'integer', minimum: 1 },
      description: 'How often each kind of value was masked.',
    },
    'portcullis.content.request.hash': hex('HMAC-SHA-256 of the request body.'),
    'portcullis.content.request.dropped': {
      enum: ['unreadable', 'too_large', 'redaction_failed', 'lost', 'unseen'],
      description:
        'Why it is not here although it was asked for; `lost`: the process that held it ended before the request; `unseen`: the gateway let the request pass without asking this policy.',
    },
    'portcullis.content.response': {
      type: 'string',
      description: 'The reply after redaction, where it could be seen.',
    },
    'portcullis.content.response.truncated': { const: true, description: 'The reply was longer than is kept.' },
    'portcullis.content.response.findings': {
      type: 'object',
      additionalProperties: { type: 'integer', minimum: 1 },
      description: 'How often each kind of value was masked.',
    },
    'portcullis.content.response.hash': hex('HMAC-SHA-256 of the reply’s body.'),
    'portcullis.content.response.dropped': {
      enum: ['unreadable', 'too_large', 'redaction_failed'],
      description: 'Why it is not here although it was asked for.',
    },
    'portcullis.audit.sample': {
      type: 'number',
      minimum: 0,
      maximum: 1,
      description: 'The fraction of requests that is recorded, when it is not all.',
    },
    'portcullis.audit.dropped': { type: 'integer', minimum: 1, description: 'Records lost since the one before.' },
    'portcullis.chain.seq': { type: 'integer', minimum: 1, description: 'The record’s number in its chain.' },
    'portcullis.chain.prev': hex('The MAC of the record before; zeros in the first.'),
    'portcullis.chain.mac': hex('HMAC-SHA-256 of the line up to here.'),
  },
} as const
