/** `portcullis-kong`: hosts the plugins for Kong, and tells Kong what they are. */

import { parseArgs } from 'node:util'
import { PortcullisError } from '../../policies/errors.ts'
import { DEFAULT_CALLERS, MAX_CALLERS } from '../metrics/limits.ts'
import { VERSION } from '../version.ts'
import { dump } from './dump.ts'
import { DEFAULT_DEADLINE_MS } from './host.ts'
import { loadPlugin, PLUGIN_NAMES } from './registry.ts'
import { type MetricsAddress, run } from './run.ts'

const LOOPBACK = '127.0.0.1'

const USAGE = `Usage:
  portcullis-kong serve --socket PATH [--metrics-port PORT [--metrics-host HOST] [--metrics-callers N]]
                        [--deadline-ms MS] [--drain-ms MS] [--log-level LEVEL]
  portcullis-kong dump NAME      (${PLUGIN_NAMES.join(', ')})

serve hosts every plugin of the pack for Kong on one Unix socket.
  --socket PATH        the same as in every KONG_PLUGINSERVER_<NAME>_SOCKET
  --metrics-port PORT  /healthz and /metrics; off unless given
  --metrics-host HOST  the address or name to listen at (default ${LOOPBACK}). There is no password on it, and it
                       names consumers: only a network that callers cannot reach
  --metrics-callers N  consumers that have metrics of their own, 0 to ${MAX_CALLERS} (default ${DEFAULT_CALLERS}); the others share one
  --deadline-ms MS     refuse with 503 after so long, 100 to 60000 (default ${DEFAULT_DEADLINE_MS}); keep it below
                       KONG_NGINX_PROXY_LUA_SOCKET_READ_TIMEOUT, after which Kong lets the request pass
  --drain-ms MS        on SIGTERM, SIGQUIT or SIGINT serve on for so long while Kong is connected, 0 to 60000
                       (default 3000)
  --log-level LEVEL    info (default), warn or error
dump prints what KONG_PLUGINSERVER_<NAME>_QUERY_CMD must print.
`

class UsageError extends Error {
  override name = 'UsageError'
}

/** Returns the exit code; `serve` only returns when it could not start. */
export async function main(args: readonly string[]): Promise<number | undefined> {
  try {
    const { values, positionals } = parse(args)
    if (values.version === true) return print(`${VERSION}\n`)
    if (values.help === true) return print(USAGE)
    const [command, ...rest] = positionals
    if (command === 'dump') return print(`${dump(await pluginNamed(rest))}\n`)
    if (command !== 'serve' || rest.length > 0) throw new UsageError(`unknown command: ${positionals.join(' ')}`)
    if (values.socket === undefined || values.socket === '') throw new UsageError('serve needs --socket PATH')
    await run({
      socket: values.socket,
      metrics: metricsAddress(values),
      deadlineMs: integer('deadline-ms', values, 100, 60_000),
      drainMs: integer('drain-ms', values, 0, 60_000),
      logLevel: values['log-level'],
    })
    return undefined
  } catch (error) {
    if (!(error instanceof UsageError) && !(error instanceof PortcullisError)) throw error
    process.stderr.write(`portcullis-kong: ${error.message}\n${error instanceof UsageError ? `\n${USAGE}` : ''}`)
    return error instanceof UsageError ? 2 : 1
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        socket: { type: 'string' },
        'metrics-port': { type: 'string' },
        'metrics-host': { type: 'string', default: LOOPBACK },
        'metrics-callers': { type: 'string', default: String(DEFAULT_CALLERS) },
        'deadline-ms': { type: 'string', default: String(DEFAULT_DEADLINE_MS) },
        'drain-ms': { type: 'string', default: '3000' },
        'log-level': { type: 'string', default: 'info' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : 'bad arguments', { cause: error })
  }
}

async function pluginNamed(names: readonly string[]) {
  const [name, ...rest] = names
  const plugin = name === undefined || rest.length > 0 ? undefined : await loadPlugin(name)
  if (plugin === undefined) throw new UsageError('dump needs the name of one plugin of this pack')
  return plugin
}

function metricsAddress(values: Readonly<Record<string, unknown>>): MetricsAddress | undefined {
  const host = String(values['metrics-host'])
  const callers = integer('metrics-callers', values, 0, MAX_CALLERS)
  if (values['metrics-port'] === undefined) {
    if (host !== LOOPBACK || callers !== DEFAULT_CALLERS) throw new UsageError('metrics need --metrics-port PORT')
    return undefined
  }
  // Node takes an empty name for every address.
  if (!/^[\w.:-]{1,253}$/.test(host)) throw new UsageError('--metrics-host must be an address or a name')
  return { host, port: integer('metrics-port', values, 0, 65_535), callers }
}

function integer(name: string, values: Readonly<Record<string, unknown>>, min: number, max: number): number {
  const text = String(values[name])
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw new UsageError(`--${name} must be an integer between ${min} and ${max}`)
  return value
}

function print(text: string): number {
  process.stdout.write(text)
  return 0
}
