/** Where a command of `keys` works. */

import type { Finish, Io } from '../../io.ts'
import { type BackendOptions, openBackend, type World } from '../../keys/open.ts'
import type { KeyBackend } from '../../keys/ports.ts'

export interface Place {
  readonly io: Io
  readonly finish: Finish
  readonly load: () => Promise<World>
}

export interface JsonOption {
  readonly json?: true
}

export async function withBackend<T>(
  options: BackendOptions,
  { io, load }: Place,
  work: (backend: KeyBackend, world: World) => Promise<T>,
): Promise<T> {
  const world = await load()
  const backend = await openBackend(options, io, world)
  try {
    return await work(backend, world)
  } finally {
    await backend.close()
  }
}

/** For an option that may be given several times. */
export function collect(value: string, all: readonly string[]): readonly string[] {
  return [...all, value]
}
