/** Makes a Kong plugin of a policy, or of a set of them. */

import { PortcullisError } from '../../policies/errors.ts'
import { createPipeline, type Pipeline } from '../../policies/pipeline.ts'
import type { Policy } from '../../policies/policy.ts'
import { createInstances, type PolicySet } from '../../policies/policy-set.ts'
import type { Fields } from '../../policies/schema/fields.ts'
import { KONG_PRIVATE_KEYS, type KongField, toKongSchema } from '../../policies/schema/kong-schema.ts'
import { parsePolicyConfig } from '../../policies/schema/parse.ts'
import { VERSION } from '../version.ts'
import { access } from './adapter/access.ts'
import { UNSEEN_WITHOUT_EDGE } from './adapter/exchange-pdk.ts'
import type { KongPdk } from './adapter/pdk.ts'
import { settle } from './adapter/settle.ts'
import { type Host, processHost } from './host.ts'
import { UNAVAILABLE_REPLY } from './unavailable.ts'

/** What `kong-pdk` expects of a plugin's module. */
export interface KongPlugin {
  readonly Name: string
  readonly Version: string
  readonly Priority: number
  readonly Schema: readonly KongField[]
  readonly Plugin: new (config: unknown) => KongPhases
}

/** Never a `response` phase: Kong would buffer every reply of the route. */
export interface KongPhases {
  access(kong: unknown): Promise<void>
  log(kong: unknown): Promise<void>
}

interface Configured {
  readonly pipeline: Pipeline
  readonly pluginId: string
}

/** A config that was refused, and why; names fields and never quotes a value. */
interface Misconfigured {
  readonly reason: string
}

export function kongPlugin<F extends Fields>(
  name: string,
  priority: number,
  policy: Policy<F> | PolicySet<F>,
): KongPlugin {
  /** State lives in the process's runtime: Kong throws instances away after an idle minute and on every reload. */
  class Plugin implements KongPhases {
    private readonly configured: Configured | Misconfigured

    constructor(config: unknown) {
      this.configured = configure(name, policy, config, processHost())
    }

    access(kong: unknown): Promise<void> {
      const pdk = kong as KongPdk
      const host = processHost()
      if ('reason' in this.configured) return refuseAll(name, pdk, this.configured)
      return host.track(
        access(pdk, {
          plugin: name,
          ...this.configured,
          clock: host.deps.clock,
          logger: host.deps.logger,
          deadlineMs: host.deadlineMs,
          settlesBatches: host.settlesBatches,
          underWay: host.underWay,
          onNoFacts: () => warnOnce(name, host),
          onReserved: (reservation) => host.onReserved(reservation),
          inBackground: (work) => void host.track(work),
        }),
      )
    }

    log(kong: unknown): Promise<void> {
      const host = processHost()
      if ('reason' in this.configured) return Promise.resolve()
      const { pipeline } = this.configured
      return host.track(settle(kong as KongPdk, { plugin: name, pipeline, logger: host.deps.logger }))
    }
  }
  return { Name: name, Version: VERSION, Priority: priority, Schema: toKongSchema(policy.fields), Plugin }
}

/** Never throws: an instance with a bad config refuses every request, whatever Kong makes of an error. */
function configure<F extends Fields>(
  name: string,
  policy: Policy<F> | PolicySet<F>,
  input: unknown,
  host: Host,
): Configured | Misconfigured {
  const { logger } = host.deps
  try {
    const pluginId = (input as { readonly __plugin_id?: unknown } | null)?.__plugin_id
    if (typeof pluginId !== 'string')
      throw new PortcullisError('kong_config_without_id', 'Kong sent a config without `__plugin_id`')
    const config = parsePolicyConfig(policy, input, { ...KONG_PRIVATE_KEYS, subject: name })
    const pipeline = createPipeline(createInstances(policy, config, host.deps), logger)
    host.pipelines.remember(name, pluginId, pipeline)
    return { pluginId, pipeline }
  } catch (error) {
    // A ConfigError names fields and never quotes a value; of any other error only the kind is safe.
    const reason = error instanceof PortcullisError ? error.message : error instanceof Error ? error.name : typeof error
    logger.error('CONFIG REFUSED: every request of this plugin is answered with 503', { plugin: name, reason })
    return { reason }
  }
}

async function refuseAll(plugin: string, kong: KongPdk, { reason }: Misconfigured): Promise<void> {
  // At level error, for every request: Kong shows what this process writes to stderr at level info only.
  await kong.log.err(`${plugin} refuses every request, because its config is refused: ${reason}`)
  const { status, body, headers } = UNAVAILABLE_REPLY
  await kong.response.exit(status, body, headers)
}

const warned = new Set<string>()

function warnOnce(plugin: string, host: Host): void {
  if (warned.has(plugin)) return
  warned.add(plugin)
  host.deps.logger.warn('llm-edge did not run before this plugin, which therefore cannot see some things', {
    plugin,
    unseen: UNSEEN_WITHOUT_EDGE,
  })
}
