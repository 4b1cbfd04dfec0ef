/** The parts of kong-pdk that have no types of their own. */

declare module 'kong-pdk/lib/mod.js' {
  export interface PluginDefinition {
    readonly Name: string
    readonly Plugin: new (config: never) => object
    readonly Schema: readonly unknown[]
    readonly Version: string
    readonly Priority: number
  }
  export class Instance {
    isExpired(seconds?: number): boolean
    resetExpireTs(): object
    close(): void
    getName(): string
    executePhase(phase: string, kong: unknown): unknown
  }
  export class Module {
    constructor(name: string, path: undefined, definition: PluginDefinition)
    new(config: unknown): Instance
    getName(): string
    getPhases(): readonly string[]
    getPriority(): number
    getVersion(): string
    getSchema(): readonly unknown[]
    getLastStartInstanceTime(): number
  }
}

declare module 'kong-pdk/pdk.js' {
  import type { Pipe } from './server/event.ts'

  /** Turns property paths into PDK calls. Never await `kong` or a part of it: `then` would be a call as well. */
  export default class Pdk {
    constructor(pipe: Pipe)
    readonly kong: unknown
  }
}
