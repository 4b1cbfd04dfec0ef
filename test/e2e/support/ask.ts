/** One request to Kong, and what came back. */

import { KEYS } from './config.ts'
import type { Kong } from './kong.ts'

export interface Ask {
  readonly route: string
  /** Upstream path; default chat completions. */
  readonly path?: string
  readonly method?: string
  /** Default alice's. */
  readonly key?: string
  readonly headers?: Readonly<Record<string, string>>
  /** An object is sent as JSON; default a short chat. */
  readonly body?: object | string | Uint8Array
  readonly signal?: AbortSignal
}

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

export function chat(fields: object = {}): object {
  return { model: 'gpt-4o-mini', max_tokens: 64, messages: [{ role: 'user', content: 'Say hello.' }], ...fields }
}

export function messages(fields: object = {}): object {
  return { model: 'claude-sonnet-4-5', max_tokens: 64, messages: [{ role: 'user', content: 'Say hello.' }], ...fields }
}

export function send(kong: Kong, ask: Ask): Promise<Response> {
  const body = ask.body ?? chat()
  const raw = typeof body === 'string' ? body : body instanceof Uint8Array ? new Uint8Array(body) : JSON.stringify(body)
  const method = ask.method ?? 'POST'
  return fetch(`${kong.url}/${ask.route}${ask.path ?? '/v1/chat/completions'}`, {
    method,
    headers: { authorization: `Bearer ${ask.key ?? KEYS.alice}`, 'content-type': 'application/json', ...ask.headers },
    ...(method === 'GET' || method === 'HEAD' ? {} : { body: raw }),
    ...(ask.signal === undefined ? {} : { signal: ask.signal }),
  })
}

export async function ask(kong: Kong, request: Ask): Promise<Reply> {
  const reply = await send(kong, request)
  return { status: reply.status, headers: reply.headers, text: await reply.text() }
}

/** Stable code of a refusal in any of the APIs' shapes. */
export function codeOf(reply: Reply): string | undefined {
  const { error } = JSON.parse(reply.text) as {
    error?: { code?: string; details?: { error_code?: string } | { metadata?: { code?: string } }[] }
  }
  const details = error?.details
  return Array.isArray(details) ? details[0]?.metadata?.code : (details?.error_code ?? error?.code)
}
