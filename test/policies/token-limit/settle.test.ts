import { describe, expect, it } from 'vitest'
import {
  correctRatio,
  encodingOf,
  estimateDelivered,
  estimateTokens,
  loadTokenizer,
} from '../../../policies/llm/estimate.ts'
import { parseJsonBody } from '../../../policies/llm/json.ts'
import type { Protocol } from '../../../policies/llm/protocol.ts'
import { openAiChat } from '../../../policies/llm/protocols/openai-chat.ts'
import type { Outcome, Pass } from '../../../policies/policy.ts'
import { channels, type SettleEvent } from '../../../policies/telemetry.ts'
import { chat, remaining, rule, setUp } from './support.ts'

const DELIVERED = { characters: [400, 0, 0, 0] } as const

async function used(outcome: Outcome, body = chat({ max_tokens: 200 }), path = '/v1/chat/completions') {
  const limits = [
    rule(),
    rule({ name: 'in', count: 'input_tokens' }),
    rule({ name: 'out', count: 'output_tokens' }),
    rule({ name: 'calls', count: 'requests', limit: 10 }),
  ]
  const { passed, settle, store } = setUp({ limits })
  const decision = await passed({ body, path })
  const events: SettleEvent[] = []
  const listen = (event: unknown) => events.push(event as SettleEvent)
  channels.settle.subscribe(listen)
  await settle(decision, outcome)
  await settle(decision, outcome)
  channels.settle.unsubscribe(listen)
  expect(events).toHaveLength(1)
  const views = await store.show('consumer=5:alice')
  const usedOf = (name: string) => views.find(({ key }) => key.includes(`:${name}/`))?.used ?? 0
  return {
    input: decision.reservation?.estimated.input ?? Number.NaN,
    known: events[0]?.usage,
    total: usedOf('tokens'),
    in: usedOf('in'),
    out: usedOf('out'),
    calls: usedOf('calls'),
  }
}

describe('settling', () => {
  it('charges what the provider reported, more or less than reserved', async () => {
    const usage = { inputTokens: 30, outputTokens: 40 }
    expect(await used({ ended: 'complete', status: 200, usage })).toMatchObject({
      known: 'reported',
      total: 70,
      in: 30,
      out: 40,
      calls: 1,
    })
    const much = { inputTokens: 300, outputTokens: 500 }
    expect(await used({ ended: 'complete', status: 200, usage: much })).toMatchObject({ total: 800, in: 300, out: 500 })
  })

  it('takes a reported zero for zero', async () => {
    const usage = { inputTokens: 12, outputTokens: 0 }
    expect(await used({ ended: 'complete', status: 200, usage })).toMatchObject({ total: 12, out: 0 })
  })

  it('keeps the reservation for a half that was not reported', async () => {
    expect(await used({ ended: 'complete', status: 200, usage: { inputTokens: 30 } })).toMatchObject({
      known: 'reported',
      total: 230,
      in: 30,
      out: 200,
    })
    const half = await used({ ended: 'complete', status: 200, usage: { outputTokens: 40 } })
    expect(half).toMatchObject({ known: 'reported', total: half.input + 40, in: half.input, out: 40 })
  })

  it('keeps the reservation when nobody saw the usage, and says so', async () => {
    for (const outcome of [
      { ended: 'complete', status: 200 },
      { ended: 'complete', status: 200, usage: { reasoningTokens: 5 } },
      { ended: 'client_gone', status: 200 },
      { ended: 'client_gone' },
      { ended: 'unknown' },
      // Some proxy on the way gave up on a provider that may still be at work.
      { ended: 'complete', status: 504 },
      { ended: 'complete', status: 524 },
    ] as const) {
      const kept = await used(outcome)
      expect(kept).toMatchObject({ known: 'unobserved', total: kept.input + 200, in: kept.input, out: 200, calls: 1 })
    }
  })

  it('gives everything but the request back when the upstream failed before any token', async () => {
    for (const outcome of [
      { ended: 'complete', status: 500 },
      { ended: 'complete', status: 401 },
      { ended: 'upstream_failed' },
      { ended: 'unknown', status: 529 },
      { ended: 'client_gone', status: 503 },
    ] as const) {
      expect(await used(outcome)).toMatchObject({ known: 'refunded', total: 0, in: 0, out: 0, calls: 1 })
    }
  })

  it('takes an answer that broke for one that cost nothing only when no token can have been made', async () => {
    const broken = { ended: 'upstream_failed', status: 200 } as const
    const refunded = await used(broken, chat({ max_tokens: 200, stream: true }))
    expect(refunded).toMatchObject({ known: 'refunded', total: 0, calls: 1 })
    expect(await used(broken)).toMatchObject({ known: 'unobserved', out: 200, calls: 1 })
    const reasoning = chat({ model: 'o3-mini', max_completion_tokens: 200, stream: true })
    expect(await used(broken, reasoning)).toMatchObject({ known: 'unobserved', out: 200, calls: 1 })
  })

  it('gives the request back as well when the upstream was never contacted', async () => {
    expect(await used({ ended: 'not_forwarded' })).toMatchObject({
      known: 'refunded',
      total: 0,
      in: 0,
      out: 0,
      calls: 0,
    })
  })

  it('charges the streamed text when the caller left a text stream', async () => {
    const body = chat({ stream: true, max_tokens: 200 })
    for (const ended of ['client_gone', 'upstream_failed', 'ended_early'] as const) {
      const seen = await used({ ended, status: 200, delivered: DELIVERED }, body)
      expect(seen).toMatchObject({ known: 'delivered', in: seen.input, out: 100, total: seen.input + 100 })
    }
  })

  it('does not take streamed text for all output where reasoning may hide', async () => {
    const body = chat({ model: 'o3-mini', stream: true, max_completion_tokens: 200 })
    const seen = await used({ ended: 'client_gone', status: 200, delivered: DELIVERED }, body)
    expect(seen).toMatchObject({ known: 'unobserved', out: 200 })
  })

  it('charges text that was seen beyond the reservation, whatever else is unknown', async () => {
    const delivered = { characters: [4000, 0, 0, 0] } as const
    const outcomes = [
      { ended: 'client_gone', status: 200, delivered },
      { ended: 'complete', status: 200, delivered },
      { ended: 'unknown', status: 200, delivered },
    ] as const
    for (const outcome of outcomes) {
      const seen = await used(outcome, chat({ model: 'o3-mini', stream: true, max_completion_tokens: 200 }))
      expect(seen).toMatchObject({ known: 'unobserved', in: seen.input, out: 1000, total: seen.input + 1000 })
      const half = { ...outcome, usage: { inputTokens: 30 } }
      const known = await used(half, chat({ model: 'o3-mini', stream: true, max_completion_tokens: 200 }))
      expect(known).toMatchObject({ known: 'reported', in: 30, out: 1000, total: 1030 })
    }
  })

  it('does not take delivered text of a whole reply for its usage', async () => {
    const body = chat({ stream: true, max_tokens: 200 })
    const seen = await used({ ended: 'complete', status: 200, delivered: DELIVERED }, body)
    expect(seen).toMatchObject({ known: 'unobserved', out: 200 })
  })

  it('prefers usage that was seen over streamed text, half by half', async () => {
    const body = {
      model: 'claude-sonnet-4-5',
      max_tokens: 200,
      stream: true,
      messages: [{ role: 'user', content: 'Hi' }],
    }
    const outcome = { ended: 'client_gone', status: 200, delivered: DELIVERED, usage: { inputTokens: 33 } } as const
    expect(await used(outcome, body as never, '/v1/messages')).toMatchObject({
      known: 'reported',
      in: 33,
      out: 100,
      total: 133,
    })
  })

  it('weighs cached input, rounded up', async () => {
    const { passed, settle, store } = setUp({ limits: [rule({ cached_input_weight: 0.1 })] })
    const decision = await passed({ body: chat({ max_tokens: 10 }) })
    const usage = { inputTokens: 105, cachedInputTokens: 55, outputTokens: 7 }
    await settle(decision, { ended: 'complete', status: 200, usage })
    expect((await store.show('consumer=5:alice'))[0]?.used).toBe(50 + 6 + 7)
  })

  it('never takes more cached input than there was input', async () => {
    const { passed, settle, store } = setUp({ limits: [rule({ cached_input_weight: 0 })] })
    const usage = { inputTokens: 10, cachedInputTokens: 55, outputTokens: 7 }
    await settle(await passed({ body: chat({ max_tokens: 10 }) }), { ended: 'complete', status: 200, usage })
    expect((await store.show('consumer=5:alice'))[0]?.used).toBe(7)
  })

  it('charges embeddings their input alone', async () => {
    const body = { model: 'text-embedding-3-small', input: 'Hello.' }
    const outcome = { ended: 'complete', status: 200, usage: { inputTokens: 3 } } as const
    expect(await used(outcome, body as never, '/v1/embeddings')).toMatchObject({
      known: 'reported',
      total: 3,
      in: 3,
      out: 0,
    })
  })

  it('carries overshoot into the next window', async () => {
    const { passed, settle, refused, wait } = setUp({ limits: [rule({ algorithm: 'fixed_window' })] })
    const first = await passed({ body: chat({ max_tokens: 10 }) })
    await settle(first, { ended: 'complete', status: 200, usage: { inputTokens: 10, outputTokens: 1700 } })
    wait(60_000)
    await refused({ body: chat({ max_tokens: 300 }) })
    expect(remaining(await passed({ body: chat({ max_tokens: 100 }) }))).toBeLessThan(190)
  })

  it('learns how far input estimates are off, for this caller and model', async () => {
    const { passed, settle } = setUp({ limits: [rule({ limit: 1_000_000 })] })
    const body = chat({ messages: [{ role: 'user', content: 'a b c d e f g '.repeat(200) }], max_tokens: 10 })
    const first = await passed({ body })
    const estimated = first.reservation?.estimated.input ?? 0
    for (let call = 0; call < 8; call++)
      await settle(await passed({ body }), {
        ended: 'complete',
        status: 200,
        usage: { inputTokens: estimated * 2, outputTokens: 1 },
      })
    const corrected = (await passed({ body })).reservation?.estimated.input ?? 0
    expect(corrected / estimated).toBeGreaterThan(1.7)
    expect(corrected / estimated).toBeLessThan(2.2)
    const other = await passed({ body: { ...body, model: 'other' } })
    expect(other.reservation?.estimated.input).toBe(estimated)
  })

  it('refuses a reservation that it did not make', async () => {
    const { instance } = setUp({ limits: [rule()] })
    const entry = { key: 'k', unit: 'requests', counter: { algorithm: 'nope', limit: 1, windowSeconds: 1 } }
    for (const data of [
      undefined,
      null,
      5,
      {},
      { version: 1 },
      { version: 1, entries: [{}] },
      { version: 1, entries: [entry] },
      { version: 1, entries: [], call: {} },
    ]) {
      const reservation = { id: 'x', policy: 'llm-token-limit', estimated: { input: 0, output: 0 }, data }
      await expect(instance.settle?.(reservation, { ended: 'complete' })).rejects.toMatchObject({
        code: 'invalid_reservation',
      })
    }
  })

  it('gives back what was reserved when the request cannot be edited', async () => {
    const { passed, decide, store } = setUp({ limits: [rule()] }, { llm: brokenEdit() })
    await expect(decide({ body: chat({ stream: true }) })).rejects.toThrow('edit')
    expect(await store.show('consumer=5:alice')).toEqual([])
    const whole: Pass = await passed({ body: chat({ max_tokens: 900 }) })
    expect(whole.type).toBe('pass')
  })
})

function brokenEdit() {
  const protocol: Protocol = {
    ...openAiChat,
    read: (body, operation) => ({ ...openAiChat.read(body, operation), protocol }),
    edit: () => {
      throw new Error('edit')
    },
  }
  return {
    parseBody: parseJsonBody,
    estimateTokens,
    estimateDelivered,
    encodingOf,
    loadTokenizer: (encoding: Parameters<typeof loadTokenizer>[0]) => loadTokenizer(encoding),
    correctRatio,
    recognise: () => ({ name: 'chat', read: false, protocol }) as const,
  }
}
