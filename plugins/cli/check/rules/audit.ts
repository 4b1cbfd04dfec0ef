/** Whether audit records arrive where they are meant to. */

import type { KongConfig, Plugin } from '../entities.ts'
import { memberAt, rawList } from '../place.ts'
import { about, at, settingOf } from './variables.ts'

/** The audit configs that write to standard output, which Kong takes line by line into its error log. */
function* onStdout({ plugins }: KongConfig): Iterable<{ readonly plugin: Plugin; readonly audit: unknown }> {
  for (const plugin of plugins) {
    if (!plugin.enabled || !['llm-audit-log', 'llm-gateway'].includes(plugin.name)) continue
    const audit = plugin.name === 'llm-gateway' ? memberAt(plugin.config, 'audit') : plugin.config
    if (rawList(memberAt(audit, 'sinks')).some(({ type }) => type === 'stdout')) yield { plugin, audit }
  }
}

/** Levels at which nginx keeps what Kong logs as `info`. */
const KEEPING = ['info', 'debug']

export const auditNotLogged = about(
  {
    id: 'audit-not-logged',
    severity: 'error',
    title: 'Audit records go to standard output, and Kong throws them away',
    why: 'Kong logs what a plugin server prints at level info, and its own default is notice: not one record is kept.',
    fix: 'Set KONG_LOG_LEVEL=info, or give the audit log a file or HTTP sink.',
  },
  function* (environment, { config }) {
    const level = settingOf(environment, 'KONG_LOG_LEVEL')
    if (level !== undefined && KEEPING.includes(level)) return
    for (const { plugin } of onStdout(config))
      yield at(
        environment,
        'KONG_LOG_LEVEL',
        `${level === undefined ? 'is not set' : 'is above info'}, and ${plugin.name} writes its records to standard output`,
        [plugin],
      )
  },
)
