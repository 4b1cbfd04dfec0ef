/** Where Kong's error lines go. */

import type { Environment } from '../environment.ts'
import { about, at, settingOf } from './variables.ts'

const OWN = 'KONG_PROXY_ERROR_LOG'
/** Logs beside Kong's own: of everything outside of requests, and of what Lua does there. */
const MAIN = 'KONG_NGINX_MAIN_ERROR_LOG'
const TIMERS = 'KONG_NGINX_HTTP_ERROR_LOG'
/** Logs of requests again. */
const REQUESTS = ['KONG_NGINX_PROXY_ERROR_LOG', 'KONG_NGINX_LOCATION_ERROR_LOG']

const isNowhere = (log: string | undefined) => /^\s*\/dev\/null(\s|$)/.test(log ?? '')

/** A reload of Kong opens it anew: nginx has by then put its first log, the one of requests, in the place of its standard error. */
const endsAtReload = (log: string) => /^\s*(?:stderr|\/dev\/stderr|\/proc\/self\/fd\/2)(\s|$)/.test(log)

const takesInfo = (level: string | undefined) => level === 'info' || level === 'debug'

/** Why what a plugin server prints is in no log: the variable, and what is wrong with it. Undefined when it is in one. */
export function lostOutput(environment: Environment): { readonly name: string; readonly what: string } | undefined {
  const log = settingOf(environment, TIMERS)
  // nginx's own level, where a log names none.
  const level = log?.trim().split(/\s+/)[1] ?? 'error'
  if (log !== undefined && !isNowhere(log) && takesInfo(level)) return undefined
  if (isNowhere(settingOf(environment, OWN)))
    return { name: TIMERS, what: log === undefined ? 'is not set' : 'does not keep level info' }
  const own = settingOf(environment, 'KONG_LOG_LEVEL')
  if (takesInfo(own)) return undefined
  return { name: 'KONG_LOG_LEVEL', what: own === undefined ? 'is not set' : 'is above info' }
}

export const errorLog = about(
  {
    id: 'error-log',
    severity: 'warning',
    title: 'Error-log variables that do not fit together',
    why: `${OWN}=/dev/null drops what nginx logs within a request, and with it the client’s address and query. Without ${MAIN} and ${TIMERS} it drops Kong’s other lines too, a plugin’s faults among them; so does /dev/stderr there once Kong was reloaded, since nginx has then put the first log in its place. Another log for requests brings the query back.`,
    fix: 'Take the block of kong/kong.env; a log of requests only for as long as you look for a fault.',
  },
  function* (environment) {
    if (!isNowhere(settingOf(environment, OWN))) return
    for (const name of [MAIN, TIMERS]) {
      const log = settingOf(environment, name)
      if (log === undefined || isNowhere(log)) yield at(environment, name, `takes no lines, and ${OWN} is /dev/null`)
      else if (endsAtReload(log)) yield at(environment, name, `is lost with the first reload, as ${OWN} is /dev/null`)
    }
    for (const name of REQUESTS) {
      const log = settingOf(environment, name)
      if (log !== undefined && !isNowhere(log)) yield at(environment, name, 'logs requests with their query')
    }
  },
)
