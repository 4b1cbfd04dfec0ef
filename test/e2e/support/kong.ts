/** A real Kong for tests: what every host of it must be able to do. */

/** Kong's declarative format 3.0, as far as the tests need it. */
export interface KongConfig {
  readonly _format_version: '3.0'
  readonly services?: readonly object[]
  readonly consumers?: readonly object[]
  readonly plugins?: readonly PluginConfig[]
}

export interface PluginConfig {
  readonly name: string
  readonly id?: string
  readonly instance_name?: string
  readonly route?: string
  readonly consumer?: string
  readonly enabled?: boolean
  readonly config?: object
}

export interface KongOptions {
  readonly config: KongConfig
  /** nginx workers; default 1. */
  readonly workers?: number
  /** Whether the plugin server serves metrics; default true. */
  readonly metrics?: boolean
  /** `KONG_*` variables on top of kong/kong.env. */
  readonly env?: Readonly<Record<string, string>>
}

export type PluginServerSignal = 'SIGKILL' | 'SIGSTOP' | 'SIGCONT' | 'SIGTERM'

export interface Kong {
  /** Of the proxy listener: HTTP/1.1 and, with prior knowledge, HTTP/2. */
  readonly url: string
  readonly port: number
  /** Path of the plugin server's socket; absent where the test cannot reach it. */
  readonly socket?: string
  /** `POST /config`. @throws when Kong refuses it. */
  apply(config: KongConfig): Promise<void>
  /** `kong reload`. */
  reload(): Promise<void>
  /** Process ids of the plugin server, in the host's own numbering. */
  pluginServers(): Promise<readonly number[]>
  signal(pid: number, signal: PluginServerSignal): Promise<void>
  /** Resident memory of a process in bytes. */
  memory(pid: number): Promise<number>
  /** Everything that Kong and the plugin server logged. */
  log(): Promise<string>
  stop(): Promise<void>
}

export interface KongHost {
  readonly name: string
  start(options: KongOptions): Promise<Kong>
}
