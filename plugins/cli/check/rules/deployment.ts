/** The variables that Kong is started with. */

import { isLoopback } from '../../../../policies/loopback.ts'
import type { Variable } from '../environment.ts'
import { PACK } from '../priorities.ts'
import { about, at, listOf, pluginServerVariable, settingOf } from './variables.ts'

/** The pack's plugins that a plugin server runs; the others are Lua. */
const SERVED = ['llm-audit-log', 'llm-api-key', 'llm-scope', 'llm-token-limit', 'llm-gateway']

/** Half a second more than the plugins' own deadline, and no more than callers will wait. */
const LEAST_TIMEOUT_MS = 2000
const MOST_TIMEOUT_MS = 10_000

export const pluginServer = about(
  {
    id: 'plugin-server',
    severity: 'error',
    title: 'Plugin-server variables that do not fit together',
    why: 'Kong 3.9 takes one plugin from each plugin-server name. A plugin that is not loaded stops Kong from starting; two processes do not share their state.',
    fix: 'Take the block of kong/kong.env: every plugin in KONG_PLUGINS and KONG_PLUGINSERVER_NAMES, each with its own _QUERY_CMD (`dump NAME`) and the same _SOCKET, and one _START_CMD (`serve --socket`) in all.',
  },
  function* (environment, { config }) {
    const loaded = new Set(listOf(environment, 'KONG_PLUGINS'))
    const used = new Set(
      config.plugins.map(({ name }) => name).filter((name) => (PACK as readonly string[]).includes(name)),
    )
    for (const name of used)
      if (!loaded.has(name)) yield at(environment, 'KONG_PLUGINS', `lacks ${name}, which is configured`)

    const names = listOf(environment, 'KONG_PLUGINSERVER_NAMES')
    const served = SERVED.filter((name) => loaded.has(name))
    for (const name of served)
      if (!names.includes(name)) yield at(environment, 'KONG_PLUGINSERVER_NAMES', `lacks ${name}`)
    const own = names.filter((name) => SERVED.includes(name))
    if (own.length === 0) return
    const first = settingOf(environment, pluginServerVariable(own[0] ?? '', 'SOCKET'))
    for (const name of own) {
      const socket = settingOf(environment, pluginServerVariable(name, 'SOCKET'))
      if (socket === undefined) yield at(environment, pluginServerVariable(name, 'SOCKET'), 'is not set')
      else if (socket !== first)
        yield at(environment, pluginServerVariable(name, 'SOCKET'), 'names another socket than the first plugin’s')
      const query = settingOf(environment, pluginServerVariable(name, 'QUERY_CMD'))
      if (query === undefined || !new RegExp(`\\sdump\\s+${name}\\s*$`).test(query))
        yield at(environment, pluginServerVariable(name, 'QUERY_CMD'), `must end with "dump ${name}"`)
    }
    const starting = own.filter((name) => settingOf(environment, pluginServerVariable(name, 'START_CMD')) !== undefined)
    if (starting.length > 1)
      yield at(environment, pluginServerVariable(starting[1] ?? '', 'START_CMD'), 'starts a second process')
    for (const name of starting) {
      const command = settingOf(environment, pluginServerVariable(name, 'START_CMD')) ?? ''
      if (first !== undefined && !command.includes(` --socket ${first}`))
        yield at(environment, pluginServerVariable(name, 'START_CMD'), 'serves another socket than the plugins ask')
    }
  },
)

/** `2s`, `500ms`, `1m`; plain numbers are seconds. Undefined for none of these. */
function milliseconds(value: string): number | undefined {
  const [, digits, unit = 's'] = /^(\d+)(ms|s|m)?$/.exec(value.trim()) ?? []
  if (digits === undefined) return undefined
  return Number(digits) * (unit === 'ms' ? 1 : unit === 's' ? 1000 : 60_000)
}

const TIMEOUT = 'KONG_NGINX_PROXY_LUA_SOCKET_READ_TIMEOUT'

export const socketTimeout = about(
  {
    id: 'socket-timeout',
    severity: 'error',
    title: 'lua_socket_read_timeout not set, or not usable',
    why: 'Kong waits 60 seconds for a plugin server that hangs, for each of its plugins; below the plugins’ own deadline it gives up on answers that were coming.',
    fix: `Set ${TIMEOUT}=2s.`,
  },
  function* (environment) {
    const value = settingOf(environment, TIMEOUT) ?? settingOf(environment, 'KONG_NGINX_HTTP_LUA_SOCKET_READ_TIMEOUT')
    const ms = value === undefined ? undefined : milliseconds(value)
    if (value === undefined) yield at(environment, TIMEOUT, 'is not set')
    else if (ms === undefined || ms < LEAST_TIMEOUT_MS || ms > MOST_TIMEOUT_MS)
      yield at(environment, TIMEOUT, `must lie between ${LEAST_TIMEOUT_MS / 1000}s and ${MOST_TIMEOUT_MS / 1000}s`)
  },
)

/** `1m`, `512k`, `4096`. Undefined for none of these. */
function bytes(value: string): number | undefined {
  const [, digits, unit = ''] = /^(\d+)([kmg]?)$/i.exec(value.trim()) ?? []
  return digits === undefined ? undefined : Number(digits) * 1024 ** ['', 'k', 'm', 'g'].indexOf(unit.toLowerCase())
}

const BUFFER = 'KONG_NGINX_HTTP_CLIENT_BODY_BUFFER_SIZE'
const MOST = 'KONG_NGINX_HTTP_CLIENT_MAX_BODY_SIZE'

export const bodyBuffers = about(
  {
    id: 'body-buffers',
    severity: 'warning',
    title: 'Buffer sizes that do not fit the bodies',
    why: 'A body larger than the buffer goes through a file on disk, with the prompt in it; a chunked upload without a largest size fills the disk.',
    fix: `Set ${BUFFER} to what most prompts need (1m), and ${MOST} to at least llm-edge's max_body_bytes.`,
  },
  function* (environment, { config }) {
    const buffer = bytes(settingOf(environment, BUFFER) ?? '8k')
    if (buffer === undefined || buffer < 65_536) yield at(environment, BUFFER, 'is below 64k')
    const caps = config.plugins
      .filter(({ name }) => name === 'llm-edge')
      .map((edge) => (typeof edge.config.max_body_bytes === 'number' ? edge.config.max_body_bytes : 1_048_576))
    const largest = Math.max(0, ...caps)
    const most = bytes(settingOf(environment, MOST) ?? '0')
    if (most === undefined || most === 0) yield at(environment, MOST, 'sets no bound')
    else if (most < largest) yield at(environment, MOST, `is below the ${largest} bytes that llm-edge takes`)
  },
)

/** Of listeners, of upstreams (`KONG_NGINX_PROXY_PROXY_SSL_PROTOCOLS`), and of Lua's own sockets. */
const SSL_PROTOCOLS = /^KONG_(\w+_)?SSL_PROTOCOLS$/

export const oldTls = about(
  {
    id: 'old-tls',
    severity: 'error',
    title: 'TLS below 1.2',
    why: 'TLS 1.0 and 1.1 can be broken into; the suite `old` of Kong switches them on.',
    fix: 'Set KONG_SSL_PROTOCOLS=TLSv1.2 TLSv1.3 and KONG_SSL_CIPHER_SUITE=intermediate or modern.',
  },
  function* (environment) {
    for (const name of environment.variables.keys())
      if (SSL_PROTOCOLS.test(name) && /(^|\s)(SSLv[23]|TLSv1(\.[01])?)(\s|$)/.test(settingOf(environment, name) ?? ''))
        yield at(environment, name, 'takes TLS below 1.2')
    if (settingOf(environment, 'KONG_SSL_CIPHER_SUITE') === 'old')
      yield at(environment, 'KONG_SSL_CIPHER_SUITE', 'is `old`, which takes TLS 1.0')
  },
)

const UPSTREAM_VERIFY = 'KONG_NGINX_PROXY_PROXY_SSL_VERIFY'
const UPSTREAM_TRUST = 'KONG_NGINX_PROXY_PROXY_SSL_TRUSTED_CERTIFICATE'

export const upstreamTrust = about(
  {
    id: 'upstream-trust',
    severity: 'error',
    title: 'Upstreams are to be checked, but nothing says whose certificates are good',
    why: 'nginx reads its list of authorities only with `proxy_ssl_verify on`; without it, `tls_verify: true` on a service answers every call with 502.',
    fix: `Set ${UPSTREAM_VERIFY}=on and ${UPSTREAM_TRUST}=/etc/ssl/certs/ca-certificates.crt, or give the service its own \`ca_certificates\`.`,
  },
  function* (environment, { config }) {
    const checked = config.services.some(
      ({ raw }) => raw.tls_verify === true && !(Array.isArray(raw.ca_certificates) && raw.ca_certificates.length > 0),
    )
    if (!checked) return
    if (settingOf(environment, UPSTREAM_VERIFY) !== 'on') yield at(environment, UPSTREAM_VERIFY, 'is not on')
    if (settingOf(environment, UPSTREAM_TRUST) === undefined) yield at(environment, UPSTREAM_TRUST, 'is not set')
  },
)

export const adminExposed = about(
  {
    id: 'admin-exposed',
    severity: 'error',
    title: 'The Admin API listens beyond this machine',
    why: 'Whoever reaches the Admin API reads every key and switches every policy off.',
    fix: 'Set KONG_ADMIN_LISTEN=127.0.0.1:8001, or off, and reach it through an authenticated way.',
  },
  function* (environment) {
    const listeners = listOf(environment, 'KONG_ADMIN_LISTEN').filter((listener) => listener !== 'off')
    if (listeners.some((listener) => !isLoopback(/^(.*?):\d+(\s|$)/.exec(listener)?.[1] ?? '')))
      yield at(environment, 'KONG_ADMIN_LISTEN', 'is not on the loopback')
  },
)

export const trustsEverybody = about(
  {
    id: 'trusts-everybody',
    severity: 'error',
    title: 'Everybody’s X-Forwarded-For is believed',
    why: 'Callers then choose their own address: limits by `ip`, address bindings and ip-restriction mean nothing. They also choose X-Forwarded-Proto, and so get past https-only routes.',
    fix: 'List only the addresses of your own load balancers in KONG_TRUSTED_IPS.',
  },
  function* (environment) {
    if (listOf(environment, 'KONG_TRUSTED_IPS').some((range) => /\/0$/.test(range)))
      yield at(environment, 'KONG_TRUSTED_IPS', 'trusts every address')
  },
)

export const realIpHeader = about(
  {
    id: 'real-ip-header',
    severity: 'warning',
    title: 'Load balancers are trusted, but their X-Forwarded-For is not read',
    why: 'Kong takes the caller’s address from X-Real-IP unless told otherwise, which many load balancers leave as the caller sent it, or do not set: limits by `ip` and ip-restriction then see the wrong address.',
    fix: 'Set KONG_REAL_IP_HEADER=X-Forwarded-For and KONG_REAL_IP_RECURSIVE=on, or KONG_REAL_IP_HEADER=X-Real-IP where your load balancer really sets that.',
  },
  function* (environment) {
    if (
      listOf(environment, 'KONG_TRUSTED_IPS').length > 0 &&
      settingOf(environment, 'KONG_REAL_IP_HEADER') === undefined
    )
      yield at(environment, 'KONG_REAL_IP_HEADER', 'is not set')
  },
)

function isOff(variable: Variable | undefined): boolean {
  return variable !== undefined && /^off\b/.test(variable.value.trim())
}

export const queryInAccessLog = about(
  {
    id: 'query-in-access-log',
    severity: 'warning',
    title: 'Keys of Gemini clients in the access log',
    why: 'nginx’s access log holds the query string, and Gemini clients may put their key there.',
    fix: 'Set KONG_PROXY_ACCESS_LOG=off (llm-audit-log writes what is needed), or give it a log format without the query.',
  },
  function* (environment) {
    const log = environment.variables.get('KONG_PROXY_ACCESS_LOG')
    // A second word is the name of a format of the operator's own.
    if (!isOff(log) && !/\S\s+\S/.test(log?.value.trim() ?? ''))
      yield at(environment, 'KONG_PROXY_ACCESS_LOG', 'writes the query string')
  },
)

export const debugLog = about(
  {
    id: 'debug-log',
    severity: 'warning',
    title: 'Kong logs at level debug',
    why: 'Bundled plugins write header values at that level: request-transformer the ones it puts in.',
    fix: 'Set KONG_LOG_LEVEL=info.',
  },
  function* (environment) {
    if (settingOf(environment, 'KONG_LOG_LEVEL') === 'debug') yield at(environment, 'KONG_LOG_LEVEL', 'is debug')
  },
)
