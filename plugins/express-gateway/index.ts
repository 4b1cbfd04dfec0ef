/** The Express Gateway plugin. Its loader `require`s this module and reads the exports below. */

import { apiKey } from '../../policies/api-key/index.ts'
import { auditLog } from '../../policies/audit/index.ts'
import { llmGateway } from '../../policies/gateway/index.ts'
import type { Logger } from '../../policies/policy.ts'
import { scope } from '../../policies/scope/index.ts'
import { tokenLimit } from '../../policies/token-limit/index.ts'
import { createDeps } from '../deps.ts'
import { adaptPolicy, schemaId } from './adapter.ts'
import type { EgLogger, PluginContext } from './eg.ts'
import { answerBrokenRequests } from './http-errors.ts'
import { llmKey } from './llm-key.ts'
import { observersOf } from './observers.ts'
import { asList } from './pipelines.ts'
import { onServers } from './servers.ts'

/** Of the plugin interface, not of this package. */
export const version = '1.2.0'

export const policies = ['llm-key', auditLog.name, apiKey.name, scope.name, tokenLimit.name, llmGateway.name]

/** Settings under `plugins` in `system.config.yml`. */
export const schema = {
  $id: schemaId('plugin'),
  type: 'object',
  properties: {
    synchronous_conditions: {
      type: 'array',
      items: { type: 'string' },
      description: 'Conditions of other plugins whose handlers never return a promise.',
    },
  },
}

/** Called at start and again on every reload: what must last lives in the runtime of the process. */
export function init(context: PluginContext): void {
  const logger = loggerOf(context.logger)
  const deps = createDeps({ logger })
  const synchronousConditions = asList(context.settings.synchronous_conditions).map(String)
  const observers = observersOf(context, logger)
  onServers(context.eventBus, (server) => {
    answerBrokenRequests(server, deps.random.id)
    observers.attach(server)
  })
  context.registerPolicy(llmKey({ logger, newId: deps.random.id, synchronousConditions }))
  const options = { deps, services: context.services, synchronousConditions, observers }
  context.registerPolicy(adaptPolicy(auditLog, options))
  context.registerPolicy(adaptPolicy(apiKey, options))
  context.registerPolicy(adaptPolicy(scope, options))
  context.registerPolicy(adaptPolicy(tokenLimit, options))
  context.registerPolicy(adaptPolicy(llmGateway, options))
}

/** Express Gateway's logger takes text. */
function loggerOf(logger: EgLogger): Logger {
  const line = (message: string, fields: Readonly<Record<string, unknown>> | undefined): string =>
    fields === undefined ? message : `${message} ${JSON.stringify(fields)}`
  return {
    info: (message, fields) => logger.info(line(message, fields)),
    warn: (message, fields) => logger.warn(line(message, fields)),
    error: (message, fields) => logger.error(line(message, fields)),
  }
}
