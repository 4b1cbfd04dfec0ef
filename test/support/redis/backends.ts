/** What runs a Redis for tests: a redis-server from the PATH, or a container. A test that finds neither says so loudly. */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'

/** Another server program, such as one of another version, and another image. */
const PROGRAM = process.env.REDIS_SERVER ?? 'redis-server'
const IMAGE = process.env.REDIS_IMAGE ?? 'redis:7-alpine'
/** With it a skipped test is a failure. */
const REQUIRED = process.env.REQUIRE_REDIS === '1'

export interface RedisProcess {
  readonly ended: boolean
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>
  freeze(): Promise<void>
  thaw(): Promise<void>
}

export interface RedisBackend {
  readonly name: string
  /** @param args those of redis-server */
  launch(args: readonly string[]): Promise<RedisProcess>
}

/** Undefined when there is none in the PATH. */
function serverVersion(): string | undefined {
  const { status, stdout } = spawnSync(PROGRAM, ['--version'], { encoding: 'utf8' })
  return status === 0 ? /v=(\S+)/.exec(stdout)?.[1] : undefined
}

export const redisVersion = serverVersion()

const program: RedisBackend = {
  name: `${PROGRAM} ${redisVersion}`,
  async launch(args) {
    const child = spawn(PROGRAM, args, { stdio: 'ignore' })
    let failed = false
    child.once('error', () => {
      failed = true
    })
    const ended = () => failed || child.exitCode !== null || child.signalCode !== null
    return {
      get ended() {
        return ended()
      },
      async kill() {
        if (ended()) return
        const gone = once(child, 'exit')
        child.kill('SIGKILL')
        await gone
      },
      async freeze() {
        child.kill('SIGSTOP')
      },
      async thaw() {
        child.kill('SIGCONT')
      },
    }
  },
}

/** On the host's network, so that ports are those of the test and stay so over a restart (Linux). */
const container: RedisBackend = {
  name: IMAGE,
  async launch(args) {
    // No image of testcontainers' own is needed: every container is ended by the test that started it.
    process.env.TESTCONTAINERS_RYUK_DISABLED ??= 'true'
    const { GenericContainer, getContainerRuntimeClient } = await import('testcontainers')
    const started = await new GenericContainer(IMAGE)
      .withNetworkMode('host')
      // Certificates and the sentinels' files belong to whoever runs the test.
      .withUser(`${process.getuid?.() ?? 0}`)
      .withBindMounts([{ source: tmpdir(), target: tmpdir() }])
      .withCommand(['redis-server', ...args])
      .start()
    const { dockerode } = (await getContainerRuntimeClient()).container
    const handle = dockerode.getContainer(started.getId())
    let ended = false
    const gone = handle.wait().then(() => {
      ended = true
    })
    return {
      get ended() {
        return ended
      },
      async kill() {
        if (!ended) await handle.kill({ signal: 'SIGKILL' })
        await gone
        await handle.remove({ force: true }).catch(alreadyGone)
      },
      freeze: () => handle.pause(),
      thaw: () => handle.unpause(),
    }
  },
}

function alreadyGone(error: unknown): void {
  if ((error as { readonly statusCode?: unknown }).statusCode !== 404) throw error
}

function haveImage(): boolean {
  if (process.platform !== 'linux') return false
  return spawnSync('docker', ['image', 'inspect', IMAGE], { stdio: 'ignore', timeout: 10_000 }).status === 0
}

let known: readonly RedisBackend[] | undefined

/** All that there are, the quickest first. */
export function redisBackends(): readonly RedisBackend[] {
  known ??= [...(redisVersion === undefined ? [] : [program]), ...(haveImage() ? [container] : [])]
  return known
}

/** @throws when there is none */
export function defaultBackend(): RedisBackend {
  const backend = redisVersion === undefined ? redisBackends()[0] : program
  if (backend === undefined) throw new Error(MISSING)
  return backend
}

const MISSING = `there is neither a ${PROGRAM} in the PATH nor Docker with ${IMAGE}`

/** True when there is a Redis to start; says loudly when not. @throws with REQUIRE_REDIS=1 */
export function haveRedisServer(suite: string): boolean {
  if (redisVersion !== undefined || redisBackends().length > 0) return true
  if (REQUIRED) throw new Error(`${suite}: ${MISSING}, and REQUIRE_REDIS=1`)
  console.warn(`\n*** SKIPPED: ${suite}: ${MISSING} ***\n`)
  return false
}

/** The version of the redis-server in the PATH. @throws with REQUIRE_REDIS=1 when there is none */
export function redisServerVersion(): string | undefined {
  if (redisVersion === undefined && REQUIRED) throw new Error(`${MISSING}, and REQUIRE_REDIS=1`)
  return redisVersion
}
