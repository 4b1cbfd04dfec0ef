/** Whether audit records arrive where they are meant to. */

import type { Plugin } from '../entities.ts'
import type { Environment } from '../environment.ts'
import { memberAt, type Raw, rawList } from '../place.ts'
import type { Rule } from '../rule.ts'
import type { Site } from '../site.ts'
import { lostOutput } from './error-log.ts'
import { about, at, listOf, pluginServerVariable, settingOf } from './variables.ts'

/** The audit configs that write to standard output, which Kong takes line by line into its error log. */
function* onStdout({ config, environment }: Site): Iterable<{ readonly plugin: Plugin; readonly audit: unknown }> {
  if (environment !== undefined && !startsPluginServers(environment)) return
  for (const plugin of config.plugins) {
    if (!plugin.enabled || !['llm-audit-log', 'llm-gateway'].includes(plugin.name)) continue
    const audit = plugin.name === 'llm-gateway' ? memberAt(plugin.config, 'audit') : plugin.config
    if (stdoutSinks(audit).length > 0) yield { plugin, audit }
  }
}

function stdoutSinks(audit: unknown): readonly Raw[] {
  return rawList(memberAt(audit, 'sinks')).filter(({ type }) => type === 'stdout')
}

/** Where somebody else starts them, what they print goes elsewhere. */
function startsPluginServers(environment: Environment): boolean {
  const names = listOf(environment, 'KONG_PLUGINSERVER_NAMES')
  return (
    names.length === 0 ||
    names.some((name) => settingOf(environment, pluginServerVariable(name, 'START_CMD')) !== undefined)
  )
}

export const auditNotLogged = about(
  {
    id: 'audit-not-logged',
    severity: 'error',
    title: 'Audit records go to standard output, and Kong throws them away',
    why: 'Kong logs what a plugin server prints at level info, and its own default is notice: not one record is kept.',
    fix: 'Set KONG_LOG_LEVEL=info, where KONG_PROXY_ERROR_LOG is /dev/null KONG_NGINX_HTTP_ERROR_LOG=/dev/stdout info, or give the audit log a file or HTTP sink.',
  },
  function* (environment, site) {
    const lost = lostOutput(environment)
    if (lost === undefined) return
    for (const { plugin } of onStdout(site))
      yield at(environment, lost.name, `${lost.what}, and ${plugin.name} writes its records to standard output`, [
        plugin,
      ])
  },
)

/** What the log keeps of a line when nginx’s own beginning is taken off: the sink’s default. */
const MOST_LINE_BYTES = 3900

export const auditLinesCut: Rule = {
  id: 'audit-lines-cut',
  severity: 'warning',
  title: 'Audit records on standard output that have no room in Kong’s log',
  why: 'nginx cuts every line of Kong’s error log at 4,095 bytes, its own beginning included. The sink leaves out what of the content does not fit; lines that it may make longer are cut anywhere, and no tool can read them.',
  fix: `Give the audit log a file or HTTP sink, or leave \`content\` at none or hash, and \`max_line_bytes\` at ${MOST_LINE_BYTES}.`,
  *find(site) {
    for (const { plugin, audit } of onStdout(site)) {
      const found = (what: string) => ({ place: plugin.place, what: `${plugin.name} ${what}`, on: [plugin] })
      if (memberAt(audit, 'content') === 'redacted') yield found('writes redacted content to standard output')
      const lengths = stdoutSinks(audit).map(({ max_line_bytes: most }) => Number(most ?? MOST_LINE_BYTES))
      if (lengths.some((most) => most > MOST_LINE_BYTES))
        yield found(`writes lines of more than ${MOST_LINE_BYTES} bytes to standard output`)
    }
  },
}
