/** The sinks of a config: one for each place, shared by every instance of the process. */

import { ConfigError } from '../../errors.ts'
import type { Deps } from '../../policy.ts'
import type { AuditConfig, SinkConfig } from '../config.ts'
import type { Outputs } from '../ports.ts'
import { fileTarget } from './file.ts'
import { httpTarget } from './http.ts'
import { type AuditSink, createSink } from './queue.ts'
import { stdoutTarget } from './stdout.ts'
import type { Target } from './target.ts'

/** @throws {ConfigError} where there is nothing to write to. */
export function openSinks({ sinks, chain }: AuditConfig, deps: Deps, subject: string): readonly AuditSink[] {
  const { outputs } = deps
  if (outputs === undefined)
    throw new ConfigError(subject, [{ path: 'sinks', message: 'this gateway gives policies no way to write' }])
  return sinks.map((sink) => {
    const key = { ...sink, chain: sink.type === 'file' ? chain?.key : undefined }
    return deps.runtime.share<AuditSink>('audit.sink', key, () =>
      createSink({
        target: targetOf(sink, chain?.key, outputs, deps),
        batchRecords: sink.batch_records,
        flushMs: sink.flush_ms,
        queueBytes: sink.queue_bytes,
        clock: deps.clock,
        random: deps.random,
        logger: deps.logger,
      }),
    )
  })
}

function targetOf(sink: SinkConfig, chainKey: string | undefined, outputs: Outputs, deps: Deps): Target {
  if (sink.type === 'stdout') return stdoutTarget(outputs, { maxLineBytes: sink.max_line_bytes })
  if (sink.type === 'http')
    return httpTarget(
      { url: sink.url ?? '', headers: sink.headers, format: sink.format, timeoutMs: sink.timeout_ms },
      outputs,
    )
  return fileTarget(
    {
      path: sink.path ?? '',
      maxBytes: sink.max_bytes,
      daily: sink.daily,
      keep: sink.keep,
      ...(chainKey === undefined ? {} : { chainKey }),
    },
    {
      outputs,
      now: deps.clock.now,
      warn: (message, fields) => deps.logger.warn(message, fields),
    },
  )
}
