/** Tells telemetry how long commands take, and why they fail. */

import type { Clock } from '../../policy.ts'
import { publish } from '../../telemetry.ts'
import { failureOf, isUnknownScript, RedisFailure } from './failure.ts'

/** @param node what the connection is called */
export function createTiming(clock: Pick<Clock, 'monotonic'>, node: string) {
  return function time(answer: Promise<unknown>, command: string): void {
    const started = clock.monotonic()
    const tell = (failed: { readonly failure?: string }) =>
      publish('command', () => ({
        store: 'redis',
        node,
        command,
        durationMs: clock.monotonic() - started,
        ...failed,
      }))
    answer.then(
      () => tell({}),
      // One that does not know the script yet has answered, too.
      (error: unknown) => tell(isUnknownScript(error) ? {} : { failure: reasonOf(error) }),
    )
  }
}

/** In a word that holds no argument. */
function reasonOf(error: unknown): string {
  const failure = error instanceof RedisFailure ? error : failureOf(error)
  return failure instanceof RedisFailure ? failure.reason : failure.code
}
