/** A request as Kong and `llm-edge` show it to the plugin server, full of what must not be seen again. */

import { ENDING_KEY, REFUSAL_KEY } from '../../../plugins/kong/ending.ts'
import { entryKey, type Facts } from '../../../plugins/kong/shared-context.ts'
import { createRequest, type KongRequest } from '../../support/kong-client/request.ts'
import type { Canaries } from './canaries.ts'

export function requestOf(plant: Canaries['plant'], path: string, body: Uint8Array, token?: string): KongRequest {
  return createRequest({
    method: 'POST',
    uri: `${path}?key=${plant('query')}`,
    requestId: 'req-1',
    body,
    headers: [
      ['authorization', `Bearer ${token ?? plant('authorization')}`],
      ['x-api-key', plant('x-api-key')],
      ['cookie', plant('cookie')],
      ['user-agent', plant('user agent')],
    ],
    consumer: { id: 'c-1', username: 'alice', custom_id: plant('custom id') },
    credential: { id: 'k-1', key: plant('raw key') },
    route: { id: 'r-1', name: 'chat' },
    service: { id: 's-1', name: 'openai' },
  })
}

/** What `llm-edge` packs. */
export function factsOf(path: string, body: Uint8Array): Facts {
  return {
    version: 1,
    request_id: 'req-1',
    method: 'POST',
    path,
    address: '192.0.2.1',
    headers: { 'content-type': 'application/json', 'accept-encoding': 'identity' },
    header_count: 2,
    consumer: { id: 'c-1', username: 'alice' },
    credential: { id: 'k-1', fingerprint: 'f00d' },
    route: { id: 'r-1', name: 'chat' },
    body_in: 'base64',
    body_size: body.length,
    body_base64: Buffer.from(body).toString('base64'),
  }
}

/** `llm-edge`'s log phase. */
export function gather(request: KongRequest, more: object = {}): void {
  const answered = request.reply
  const report = {
    version: 1,
    status: answered?.status ?? 200,
    source: answered === undefined ? 'service' : 'exit',
    contacted: answered === undefined,
    ...(answered === undefined ? { upstream_status: 200 } : {}),
    completed: true,
    ...more,
  }
  const entries = ['llm-audit-log', 'llm-scope', 'llm-token-limit', 'llm-gateway'].flatMap((name) => {
    const entry = request.shared.get(entryKey(name)) as Record<string, unknown> | undefined
    if (entry === undefined) return []
    request.shared.set(entryKey(name), { ...entry, report })
    const { protocol, reservations, would_reject, rule, verdicts, claims, identity } = entry
    return [{ plugin: name, protocol, reservations, would_reject, rule, verdicts, claims, identity }]
  })
  const refusal = request.shared.get(REFUSAL_KEY)
  request.shared.set(ENDING_KEY, { version: 1, report, refusal, entries })
}

/** Kong's own log data, full of what must not be logged. */
export function serializedOf(plant: Canaries['plant']): string {
  return JSON.stringify({
    request: {
      id: 'req-1',
      method: 'POST',
      uri: `/v1/chat/completions?key=${plant('logged query')}`,
      querystring: { key: plant('logged query string') },
      headers: { authorization: plant('logged header'), 'x-api-key': plant('logged key') },
    },
    upstream_uri: `/v1/chat/completions?key=${plant('upstream query')}`,
    response: { status: 200, headers: { 'set-cookie': plant('reply header') } },
    latencies: { request: 12, kong: 1, proxy: 10 },
    started_at: 1_795_428_000_000,
    client_ip: '192.0.2.1',
    route: { id: 'r-1', name: 'chat' },
    service: { id: 's-1', name: 'openai' },
    consumer: { id: 'c-1', username: 'alice', custom_id: plant('logged custom id') },
    upstream_status: '200',
    source: 'upstream',
    tries: [{ ip: '192.0.2.9' }],
  })
}
