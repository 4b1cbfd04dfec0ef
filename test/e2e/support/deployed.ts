/** Runs what an operator deploys: the configurations under kong/, on a Kong with kong/kong.env. */

import { readFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:tls'
import { parse } from 'yaml'
import type { KongConfig } from './kong.ts'
import { PROXY_PORT } from './ports.ts'

/** In this process's own block of ports. */
export const TLS_PORT = PROXY_PORT + 7
export const PROVIDER = {
  OPENAI_AUTHORIZATION: 'Bearer openai-key',
  ANTHROPIC_API_KEY: 'anthropic-key',
  GEMINI_API_KEY: 'gemini-key',
}
export const LISTEN = `127.0.0.1:${PROXY_PORT} http2, 127.0.0.1:${TLS_PORT} http2 ssl`

/** Tag of a credential that was issued today. */
export const TODAY = `pc-issued:${new Date().toISOString().slice(0, 10)}`

type Loose = Record<string, unknown>

export interface ReadOptions {
  /** Variables that deck would put in. */
  readonly env?: Loose
  /** With the single plugins that the file has in comments. */
  readonly single?: boolean
}

/**
 * A configuration as it is handed out, moved to the test's own upstream and Redis. What deck would do to it is done: its
 * variables put in, its shared configs written out.
 */
export function readConfig(
  path: string,
  upstream: string,
  redisPort: number,
  { env = {}, single = false }: ReadOptions = {},
): KongConfig {
  const text = readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8').replaceAll(
    /\$\{\{ env "(\w+)" \}\}/g,
    (_, name: string) => String(env[name]),
  )
  const {
    _info,
    _plugin_configs: shared = {},
    ...config
  } = parse(text) as Loose & {
    _plugin_configs?: Record<string, Loose>
  }
  if (single) config.plugins = withSinglePlugins(listOf(config.plugins), text)
  for (const service of listOf(config.services)) {
    if (service.url !== 'http://127.0.0.1:1') service.url = upstream
    delete service.tls_verify
  }
  const entities = [config, ...listOf(config.services), ...listOf(config.consumers)]
  for (const plugin of entities.flatMap(({ plugins }) => listOf(plugins))) {
    const { _config: name } = plugin
    if (typeof name === 'string') plugin.config = structuredClone(shared[name])
    delete plugin._config
    const settings = plugin.config as Loose | undefined
    if (settings?.redis !== undefined) settings.redis = { host: '127.0.0.1', port: redisPort }
    const options = (settings?.model as { options?: Loose } | undefined)?.options
    if (options !== undefined) options.upstream_url = `${upstream}/v1/chat/completions`
  }
  return config as unknown as KongConfig
}

/** What an operator does to have them: takes the comment marks away, and out what they replace. */
function withSinglePlugins(plugins: readonly Loose[], text: string): Loose[] {
  const comment = text.split('# The same with the single plugins')[1]?.split('\nconsumers:')[0] ?? ''
  const lines = comment.split('\n').filter((line) => /^ {2}# ( *#|- name| {2,}|$)/.test(line))
  const single = listOf(parse(lines.map((line) => line.replace(/^ {2}# ?/, '  ')).join('\n')))
  return [...plugins.filter(({ name }) => name !== 'llm-gateway' && name !== 'llm-guard'), ...single]
}

function listOf(value: unknown): Loose[] {
  return Array.isArray(value) ? (value as Loose[]) : []
}

export interface Sent {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

export interface Call {
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: object
  readonly clear?: true
}

export function send({ path = '/openai/v1/chat/completions', headers = {}, body, clear }: Call): Promise<Sent> {
  const text = JSON.stringify(
    body ?? { model: 'gpt-4o-mini', max_tokens: 32, messages: [{ role: 'user', content: 'Hi' }] },
  )
  const options = { host: '127.0.0.1', path, method: 'POST', agent: false as const }
  const all = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)), ...headers }
  return new Promise((resolve, reject) => {
    const request = clear
      ? httpRequest({ ...options, port: PROXY_PORT, headers: all })
      : httpsRequest({ ...options, port: TLS_PORT, headers: all, rejectUnauthorized: false })
    request.on('error', reject)
    request.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => void chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(chunks).toString(),
        }),
      )
    })
    request.end(text)
  })
}

export const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

export function handshake(options: object): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port: TLS_PORT, rejectUnauthorized: false, ...options })
    socket.on('secureConnect', () => {
      resolve(socket.getProtocol() ?? 'none')
      socket.destroy()
    })
    socket.on('error', () => resolve('refused'))
  })
}
