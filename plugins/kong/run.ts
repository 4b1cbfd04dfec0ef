/** The server process: signals, logs, metrics. Everything that only `serve` needs is loaded here. */

import { PortcullisError } from '../../policies/errors.ts'
import type { Logger } from '../../policies/policy.ts'
import { createHost, useHost } from './host.ts'
import { loadPlugins } from './registry.ts'
import type { RunningServer } from './server/serve.ts'

export interface MetricsAddress {
  readonly host: string
  readonly port: number
  /** Callers that have series of their own. */
  readonly callers: number
}

export interface RunOptions {
  readonly socket: string
  readonly metrics: MetricsAddress | undefined
  readonly deadlineMs: number
  readonly drainMs: number
  readonly logLevel: string
}

const LOG_LEVELS: readonly string[] = ['info', 'warn', 'error']

/** @throws {PortcullisError} when it cannot start. */
export async function run(options: RunOptions): Promise<void> {
  if (!LOG_LEVELS.includes(options.logLevel))
    throw new PortcullisError('log_level_unknown', `--log-level must be one of ${LOG_LEVELS.join(', ')}`)
  const [{ createLogger }, { serve }, { Module }] = await Promise.all([
    import('./server/logger.ts'),
    import('./server/serve.ts'),
    import('kong-pdk/lib/mod.js'),
  ])
  const logger = createLogger(options.logLevel)
  let running: RunningServer | undefined
  const status = await statusOn(options.metrics, () => running?.state, logger)
  const host = createHost({
    logger,
    deadlineMs: options.deadlineMs,
    settlesBatches: true,
  })
  useHost(host)

  async function end(reason: string): Promise<void> {
    logger.info('ending', { reason })
    await running?.stop(options.drainMs)
    status?.close()
    await logger.close()
    process.exit(0)
  }

  const plugins = await loadPlugins()
  running = await serve({
    socket: options.socket,
    host,
    plugins: plugins.map((plugin) => new Module(plugin.Name, undefined, plugin)),
    ...(status === undefined ? {} : { observer: status.observer }),
    onUnneeded: (reason) => void end(reason),
  })

  for (const signal of ['SIGTERM', 'SIGQUIT', 'SIGINT'] as const) process.on(signal, () => void end(signal))
  process.on('unhandledRejection', (error) => logger.error('unhandled rejection', { kind: kindOf(error) }))
  process.on('uncaughtException', (error) => {
    // The state is unknown, so the process must go; Kong starts another one.
    logger.error('uncaught exception', { kind: kindOf(error), stack: placesOf(error) })
    void logger.close().finally(() => process.exit(1))
  })
}

async function statusOn(
  address: MetricsAddress | undefined,
  state: () => RunningServer['state'] | undefined,
  logger: Logger,
) {
  if (address === undefined) return undefined
  const [{ createMetrics }, { startStatusServer }] = await Promise.all([
    import('./server/metrics.ts'),
    import('./server/status-server.ts'),
  ])
  const metrics = createMetrics(state, address.callers)
  const server = startStatusServer(address, { state, metrics }, logger)
  return {
    observer: metrics.observer,
    close() {
      server.close()
      metrics.close()
    },
  }
}

function kindOf(error: unknown): string {
  return error instanceof Error ? error.name : typeof error
}

/** Where in the code, without the message: that may quote a request. */
function placesOf(error: Error): readonly string[] {
  return (error.stack ?? '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .slice(0, 10)
}
