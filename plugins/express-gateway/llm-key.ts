/**
 * The policy `llm-key`: stands before `key-auth` and hands it the key from wherever the official SDKs put it
 * (`Authorization: Bearer`, `x-api-key`, `api-key`, `x-goog-api-key`, `?key=`).
 */

import { CODES } from '../../policies/errors.ts'
import type { Logger } from '../../policies/policy.ts'
import { defineFields } from '../../policies/schema/fields.ts'
import { toJsonSchema } from '../../policies/schema/json-schema.ts'
import { parseConfig } from '../../policies/schema/parse.ts'
import { OWN_KEYS, schemaId } from './adapter.ts'
import { answer } from './answers.ts'
import { checkPipelines } from './check.ts'
import type { EgConfig, EgPolicy, EgRequest } from './eg.ts'
import { UNAVAILABLE } from './fault.ts'
import { type FoundKey, findKey, KEY_PLACES, removeCredentials } from './keys.ts'
import { passageOf } from './passage.ts'
import { pathAt, sitesOf } from './site.ts'

const NAME = 'llm-key'

const fields = defineFields({
  header: {
    type: { kind: 'string', maxLength: 128 },
    description: 'The header that key-auth reads: its `apiKeyHeader`.',
    default: 'Authorization',
  },
  scheme: {
    type: { kind: 'string', maxLength: 64, pattern: { js: '^[A-Za-z0-9_-]+$', lua: '^[A-Za-z0-9_-]+$' } },
    description: 'The word that key-auth expects before the key: its `apiKeyHeaderScheme`.',
    default: 'apiKey',
  },
})

export interface LlmKeyOptions {
  readonly logger: Logger
  newId(): string
  readonly synchronousConditions: readonly string[]
}

export function llmKey({ logger, newId, synchronousConditions }: LlmKeyOptions): EgPolicy {
  return {
    name: NAME,
    schema: toJsonSchema(fields, { id: schemaId(NAME), ignore: OWN_KEYS }),
    policy(action: unknown, config: EgConfig) {
      checkPipelines(config.gatewayConfig, { policy: NAME, place: 'before-auth', synchronousConditions })
      const { header, scheme } = parseConfig(fields, action, { subject: NAME, ignore: OWN_KEYS })
      const sites = sitesOf(config.gatewayConfig)
      return (request, response, next) => {
        const context = request.egContext
        const site = sites.get(context?.apiEndpoint.apiEndpointName ?? '')
        if (context === undefined || site === undefined) {
          answer(response, UNAVAILABLE, { requestId: newId(), protocol: undefined })
          return
        }
        const path = pathAt(request, site)
        const passage = passageOf(request, response, { context, path, credentials: site.credentials, logger })
        const found = findKey(request, scheme)
        if (found.type === 'refused') {
          const { status } = CODES.invalid_key
          const reject = { type: 'reject', status, code: 'invalid_key', message: found.message } as const
          passage.judging(NAME, undefined, Promise.resolve(reject))
          passage.refuse(reject)
          return
        }
        moveKey(request, found, header.toLowerCase(), scheme)
        next()
      }
    },
  }
}

function moveKey(request: EgRequest, found: FoundKey, header: string, scheme: string): void {
  if (found.type !== 'key') return
  removeCredentials(request, KEY_PLACES)
  // A bearer token without a colon is none of key-auth's (`id:secret`): it may be for jwt or oauth2.
  if (found.inBearer && !found.key.includes(':')) return
  if (found.inBearer) delete request.headers.authorization
  request.headers[header] = `${scheme} ${found.key}`
}
