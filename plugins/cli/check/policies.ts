/** The pack's own policies, by the name of their Kong plugin: their parsers have the last word on a config. */

import { ConfigError } from '../../../policies/errors.ts'
import type { Declared } from '../../../policies/policy-set.ts'
import type { ConfigIssue, Fields } from '../../../policies/schema/fields.ts'
import { KONG_PRIVATE_KEYS } from '../../../policies/schema/kong-schema.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { isRaw, type Raw } from './place.ts'

const POLICIES: Readonly<Record<string, () => Promise<Declared<Fields>>>> = {
  'llm-api-key': async () => (await import('../../../policies/api-key/index.ts')).apiKey as Declared<Fields>,
  'llm-audit-log': async () => (await import('../../../policies/audit/index.ts')).auditLog as Declared<Fields>,
  'llm-gateway': async () => (await import('../../../policies/gateway/index.ts')).llmGateway as Declared<Fields>,
  'llm-scope': async () => (await import('../../../policies/scope/index.ts')).scope as Declared<Fields>,
  'llm-token-limit': async () =>
    (await import('../../../policies/token-limit/index.ts')).tokenLimit as Declared<Fields>,
}

/** Plugins whose config can be judged here. */
export const JUDGED_PLUGINS: readonly string[] = Object.keys(POLICIES)

/** What is wrong with a plugin's config; undefined for a plugin that is none of the pack's policies. */
export type JudgeConfig = (plugin: string, config: Raw) => readonly ConfigIssue[] | undefined

/** Loads the policies once. */
export async function loadJudge(): Promise<JudgeConfig> {
  const loaded = await Promise.all(
    Object.entries(POLICIES).map(async ([name, load]): Promise<[string, Declared<Fields>]> => [name, await load()]),
  )
  const policies = new Map(loaded)
  return (plugin, config) => {
    const policy = policies.get(plugin)
    if (policy === undefined) return undefined
    try {
      parsePolicyConfig(policy, config, { ...KONG_PRIVATE_KEYS, subject: plugin })
      return []
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      // What Kong's vault or deck will put in cannot be judged here.
      return error.issues.filter(({ path }) => !isFilledIn(valueAt(config, path)))
    }
  }
}

function isFilledIn(value: unknown): boolean {
  return typeof value === 'string' && /^\{vault:\/\/|\$\{\{\s*env\s/.test(value)
}

/** By a path such as `limits[2].window_seconds`. */
function valueAt(config: Raw, path: string): unknown {
  const steps = [...path.matchAll(/([^.[\]]+)|\[(\d+)\]/g)].map(([, name, index]) => name ?? Number(index))
  return steps.reduce<unknown>((value, step) => {
    if (typeof step === 'number') return Array.isArray(value) ? (value[step] as unknown) : undefined
    return isRaw(value) && Object.hasOwn(value, step) ? value[step] : undefined
  }, config)
}
