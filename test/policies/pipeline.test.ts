import { describe, expect, it } from 'vitest'
import { PortcullisError, RefusedRead } from '../../policies/errors.ts'
import { createPipeline, verdictsOf } from '../../policies/pipeline.ts'
import type { Decision, Exchange, Logger, Outcome, PolicyInstance, Reservation } from '../../policies/policy.ts'
import { channels, type FaultEvent } from '../../policies/telemetry.ts'

const SECRET = 'sk-secret-prompt'

function exchange(): Exchange {
  return {
    requestId: 'r',
    method: 'POST',
    path: '/x',
    route: {},
    queryNames: () => [],
    header: () => undefined,
    body: () => new TextEncoder().encode('original'),
    caller: () => ({ address: '192.0.2.1' }),
  }
}

function recorder() {
  const lines: unknown[] = []
  const log = (message: string, fields?: unknown) => void lines.push({ message, fields })
  const logger: Logger = { info: log, warn: log, error: log }
  return { lines, logger }
}

function policy(name: string, decide: PolicyInstance['decide'], rest: Partial<PolicyInstance> = {}) {
  const settled: { reservation: Reservation; outcome: Outcome }[] = []
  const instance: PolicyInstance = {
    decide,
    settle: async (reservation, outcome) => void settled.push({ reservation, outcome }),
    ...rest,
  }
  return { name, instance, settled }
}

function reservation(of: string): Reservation {
  return { id: `id-${of}`, policy: of, estimated: { input: 1, output: 2 }, data: null }
}

const refusal: Decision = { type: 'reject', status: 403, code: 'insufficient_scope', message: 'No.' }

describe('pipeline', () => {
  it('says so when nobody here settles a reservation, and settles the others', async () => {
    const { lines, logger } = recorder()
    const known = policy('known', () => ({ type: 'pass' }))
    await createPipeline([known], logger).settle([reservation('gone'), reservation('known')], { ended: 'complete' })
    expect(known.settled).toHaveLength(1)
    expect(lines).toMatchObject([{ fields: { where: 'gone.settle', code: 'unknown_policy' } }])
  })

  it('withholds a usage event that any policy switched on, and cuts at the lowest limit', async () => {
    const tap = { protocol: 'p', stream: true, withholdUsage: true, maxOutputTokens: 50 }
    const first = policy('first', () => ({ type: 'pass', tap }))
    const second = policy('second', () => ({
      type: 'pass',
      tap: { ...tap, withholdUsage: false, maxOutputTokens: 90 },
    }))
    const verdict = await createPipeline([first, second], recorder().logger).decide(exchange())
    expect(verdict).toMatchObject({ tap: { withholdUsage: true, maxOutputTokens: 50 } })
  })

  it('merges what policies change, in order', async () => {
    const first = policy('first', () => ({
      type: 'pass',
      request: { setHeaders: { a: '1', b: '1' }, removeHeaders: ['x'] },
      replyHeaders: { r: '1' },
      reservation: reservation('first'),
    }))
    const second = policy('second', () => ({
      type: 'pass',
      request: { setHeaders: { b: '2' }, removeHeaders: ['y'] },
      replyHeaders: { r: '2', s: '2' },
      reservation: reservation('second'),
      tap: { protocol: 'p', stream: true, withholdUsage: false },
      wouldReject: { ...refusal, type: 'reject', status: 403, code: 'insufficient_scope', message: 'Held back.' },
    }))
    const verdict = await createPipeline([first, second], recorder().logger).decide(exchange())
    expect(verdict).toMatchObject({
      type: 'pass',
      request: { setHeaders: { a: '1', b: '2' }, removeHeaders: ['x', 'y'] },
      replyHeaders: { r: '2', s: '2' },
      reservations: [{ policy: 'first' }, { policy: 'second' }],
      tap: { protocol: 'p' },
      wouldReject: [{ message: 'Held back.' }],
    })
  })

  it('lets each policy judge the body that will be forwarded', async () => {
    const bodies: string[] = []
    const edit = (text: string | undefined) => async (seen: Exchange) => {
      bodies.push(new TextDecoder().decode(await seen.body()))
      const decision: Decision =
        text === undefined ? { type: 'pass' } : { type: 'pass', request: { body: new TextEncoder().encode(text) } }
      return decision
    }
    const policies = [policy('a', edit('edited')), policy('b', edit(undefined)), policy('c', edit('again'))]
    const verdict = await createPipeline(policies, recorder().logger).decide(exchange())
    expect(bodies).toEqual(['original', 'edited', 'edited'])
    expect(verdict.type === 'pass' && new TextDecoder().decode(verdict.request.body)).toBe('again')
  })

  it('stops at the first refusal and gives back what was reserved before it', async () => {
    const first = policy('first', () => ({ type: 'pass', reservation: reservation('first') }))
    const second = policy('second', () => refusal)
    let reached = false
    const third = policy('third', () => {
      reached = true
      return { type: 'pass' }
    })
    const verdict = await createPipeline([first, second, third], recorder().logger).decide(exchange())
    expect(verdict).toEqual({
      ...refusal,
      policy: 'second',
      passed: [{ policy: 'first', decision: 'pass', estimated: reservation('first').estimated }],
    })
    expect(first.settled).toEqual([{ reservation: reservation('first'), outcome: { ended: 'not_forwarded' } }])
    expect(second.settled).toEqual([])
    expect(reached).toBe(false)
  })

  it('holds each policy to its own size of a body', async () => {
    const lengths: (number | undefined)[] = []
    const read: PolicyInstance['decide'] = async (seen) => {
      lengths.push((await seen.body())?.length)
      return { type: 'pass' }
    }
    const roomy = policy('roomy', read, { maxBodyBytes: 8 })
    const tight = policy('tight', read, { maxBodyBytes: 7 })
    const verdict = await createPipeline([roomy, tight], recorder().logger).decide(exchange())
    expect(lengths).toEqual([8])
    expect(verdict).toMatchObject({
      code: 'request_too_large',
      policy: 'tight',
      message: expect.stringContaining(' 7 '),
    })
  })

  it('tells what every policy said and found out, also when a later one refuses', async () => {
    const held = { ...refusal, type: 'reject', status: 403, code: 'insufficient_scope', message: 'Held back.' } as const
    const identity = { consumer: { id: 'c', tags: [], groups: [] }, credential: { id: 'k', tags: [] } }
    const first = policy('first', () => ({ type: 'pass', reservation: reservation('first') }))
    const second = policy('second', () => ({ type: 'pass', wouldReject: held, claims: { sub: 'ada' }, identity }))
    const third = policy('third', () => ({ type: 'pass' }))
    const said = [
      { policy: 'first', decision: 'pass', estimated: { input: 1, output: 2 } },
      { policy: 'second', decision: 'pass', wouldReject: ['insufficient_scope'] },
    ]
    const passed = await createPipeline([first, second, third], recorder().logger).decide(exchange())
    expect(verdictsOf(passed, 'all')).toEqual([...said, { policy: 'third', decision: 'pass' }])
    const last = policy('last', () => refusal)
    const refused = await createPipeline([first, second, last], recorder().logger).decide(exchange())
    expect(refused).toMatchObject({ claims: { sub: 'ada' }, identity })
    expect(verdictsOf(refused, 'all')).toEqual([...said, { policy: 'last', decision: 'reject', code: refusal.code }])
  })

  it('turns a read that shows a refusal into that refusal', async () => {
    const reading = policy('reading', () => {
      throw new RefusedRead('request_too_large', 'Too large.')
    })
    const verdict = await createPipeline([reading], recorder().logger).decide(exchange())
    expect(verdict).toEqual({
      type: 'reject',
      status: 413,
      code: 'request_too_large',
      message: 'Too large.',
      policy: 'reading',
    })
  })

  for (const [what, fault, code] of [
    ['a fault of its own', new PortcullisError('store_unavailable', SECRET), 'store_unavailable'],
    ['an error of anybody', new TypeError(SECRET), 'internal_error'],
    ['something that is no error', SECRET, 'internal_error'],
  ] as const) {
    it(`answers 503 to ${what}, gives back, and says nothing of the request`, async () => {
      const { lines, logger } = recorder()
      const faults: FaultEvent[] = []
      const listen = (event: unknown) => faults.push(event as FaultEvent)
      channels.fault.subscribe(listen)
      const first = policy('first', () => ({ type: 'pass', reservation: reservation('first') }))
      const broken = policy('broken', async () => {
        throw fault
      })
      const verdict = await createPipeline([first, broken], logger).decide(exchange())
      channels.fault.unsubscribe(listen)
      expect(verdict).toMatchObject({ type: 'reject', status: 503, code: 'policy_unavailable', policy: 'broken' })
      expect(first.settled).toHaveLength(1)
      expect(faults).toEqual([{ where: 'broken.decide', code }])
      expect(JSON.stringify([verdict, lines, faults])).not.toContain(SECRET)
    })
  }

  it('settles every reservation, whatever happens to one of them', async () => {
    const { lines, logger } = recorder()
    const broken = policy('broken', () => ({ type: 'pass' }), {
      settle: async () => {
        throw new Error(SECRET)
      },
    })
    const whole = policy('whole', () => ({ type: 'pass' }))
    const pipeline = createPipeline([broken, whole], logger)
    await pipeline.settle([reservation('broken'), reservation('whole')], { ended: 'complete', status: 200 })
    expect(whole.settled).toHaveLength(1)
    expect(lines).toHaveLength(1)
    expect(JSON.stringify(lines)).not.toContain(SECRET)
  })

  it('reads the largest body any policy reads', () => {
    const pass = () => ({ type: 'pass' }) as const
    const { logger } = recorder()
    expect(createPipeline([], logger).maxBodyBytes).toBe(0)
    const policies = [
      policy('a', pass, { maxBodyBytes: 10 }),
      policy('b', pass),
      policy('c', pass, { maxBodyBytes: 5 }),
    ]
    expect(createPipeline(policies, logger).maxBodyBytes).toBe(10)
  })
})
