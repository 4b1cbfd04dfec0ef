import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Content } from '../../../policies/audit/content.ts'
import { createHeldContent } from '../../../policies/audit/held-content.ts'
import { type AuditRecord, auditLog } from '../../../policies/audit/index.ts'
import type { Deps, Ending, Exchange, PolicyInstance, Reservation } from '../../../policies/policy.ts'
import { createRuntime, type Runtime } from '../../../policies/runtime.ts'
import { parsePolicyConfig } from '../../../policies/schema/parse.ts'
import { createDisk, createLines, createOutputs, createTestClock } from './support.ts'

const REQUEST = 'portcullis.content.request'
const text = (of: string): Content => ({ [REQUEST]: of })

function place(mostBytes = 1_000_000) {
  const clock = createTestClock()
  const held = createHeldContent({ clock, mostBytes, patienceMs: 1_000 })
  const made: string[] = []
  const given: Content[] = []
  return {
    clock,
    held,
    made,
    given,
    use: (content: Content) => void given.push(content),
    hold: (id: string, bytes = 100) =>
      held.hold(id, bytes, () => {
        made.push(id)
        return text(id)
      }),
  }
}

describe('the place where content waits', () => {
  it('makes it later, and gives it once', async () => {
    const { held, hold, made, given, use, clock } = place()
    expect(hold('a')).toBe(true)
    expect(made).toEqual([])
    await clock.pass(1)
    expect(made).toEqual(['a'])
    expect(held.take('a', use)).toBe(true)
    expect(given).toEqual([text('a')])
    expect(held.take('a', use)).toBe(false)
    expect(held.take('b', use)).toBe(false)
  })

  it('gives it as soon as it is made to whoever comes too early, and only to the first', async () => {
    const { held, hold, given, use, clock } = place()
    hold('a')
    expect(held.take('a', use)).toBe(true)
    expect(held.take('a', use)).toBe(false)
    expect(given).toEqual([])
    await clock.pass(1)
    expect(given).toEqual([text('a')])
  })

  it('does not make what nobody wants', async () => {
    const { held, hold, made, clock } = place()
    hold('a')
    held.drop('a')
    held.drop('unknown')
    await clock.pass(1)
    expect(made).toEqual([])
  })

  it('makes some in a turn, and a large one in a turn of its own', () => {
    const turns: (() => void)[] = []
    const clock = {
      ...createTestClock(),
      after(_ms: number, turn: () => void) {
        turns.push(turn)
        return () => undefined
      },
    }
    const held = createHeldContent({ clock, mostBytes: 100_000_000, patienceMs: 1_000 })
    let made: string[] = []
    for (const [id, bytes] of [
      ['a', 60_000],
      ['b', 60_000],
      ['c', 60_000],
      ['d', 5_000_000],
      ['e', 6_000_000],
    ] as const)
      held.hold(id, bytes, () => {
        made.push(id)
        return text(id)
      })
    const byTurn: string[][] = []
    for (let turn = turns.shift(); turn !== undefined; turn = turns.shift()) {
      turn()
      byTurn.push(made)
      made = []
    }
    expect(byTurn).toEqual([['a', 'b'], ['c'], ['d'], ['e']])
  })

  it('takes no more than it has room for, and what was waited for in vain makes room', async () => {
    const { hold, held, given, use, clock } = place(2_000)
    expect(hold('a')).toBe(true)
    expect(hold('b', 5_000)).toBe(false)
    expect(hold('b')).toBe(true)
    expect(hold('c')).toBe(false)
    await clock.pass(999)
    expect(hold('c', 300)).toBe(false)
    await clock.pass(2)
    expect(hold('c', 300)).toBe(true)
    expect(held.take('a', use)).toBe(false)
    await clock.pass(1)
    expect(held.take('c', use)).toBe(true)
    expect(given).toEqual([text('c')])
  })

  it('makes at its end what somebody waits for, and takes nothing more', () => {
    const { hold, held, made, given, use } = place()
    hold('wanted')
    hold('unwanted')
    held.take('wanted', use)
    held.close()
    expect(made).toEqual(['wanted'])
    expect(given).toEqual([text('wanted')])
    expect(hold('late')).toBe(false)
    expect(held.take('unwanted', use)).toBe(false)
  })

  it('loses nothing that it took, gives nothing twice, and has all its room in the end', async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('hold' as const), id: fc.nat(9), bytes: fc.nat(400) }),
      fc.record({ do: fc.constantFrom('take' as const, 'drop' as const), id: fc.nat(9) }),
      fc.record({ do: fc.constant('wait' as const) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const clock = createTestClock()
        const held = createHeldContent({ clock, mostBytes: 6_000, patienceMs: 1_000_000 })
        const inside = new Set<number>()
        const expected: string[] = []
        const given: string[] = []
        let turn = 0
        for (const one of steps) {
          if (one.do === 'wait') await clock.pass(1)
          else if (one.do === 'hold') {
            const name = `${one.id}#${++turn}`
            if (inside.has(one.id)) expect(held.hold(`${one.id}`, one.bytes, () => text(name))).toBe(false)
            else if (held.hold(`${one.id}`, one.bytes, () => text(name))) inside.add(one.id)
          } else if (one.do === 'drop') {
            held.drop(`${one.id}`)
            inside.delete(one.id)
          } else {
            const taken = held.take(`${one.id}`, (content) => void given.push(content[REQUEST] ?? ''))
            expect(taken).toBe(inside.delete(one.id))
            if (taken) {
              expected.push(`${one.id}`)
              await clock.pass(1)
            }
          }
        }
        expect(given.map((name) => name.split('#')[0])).toEqual(expected)
        for (const id of inside) held.drop(`${id}`)
        expect(held.hold('all', 1_800, () => text('all'))).toBe(true)
      }),
      { numRuns: 200 },
    )
  })
})

const EMAIL = 'marie.curie@sorbonne.example'
const BODY = JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: `Plain words, and ${EMAIL}` }] })
const MASKED = BODY.replace(EMAIL, '[EMAIL]')

const ENDED: Ending = {
  route: {},
  outcome: { ended: 'complete', status: 200 },
  status: 200,
  verdicts: [],
  reservations: [],
}

/** A gateway's process, in which instances of the policy come and go. */
function gateway(runtime: Runtime = createRuntime()) {
  const clock = createTestClock()
  const outputs = createOutputs({ files: createDisk(clock.now) })
  const { lines, logger } = createLines()
  let ids = 0
  const deps: Deps = {
    clock,
    random: { id: () => `id-${++ids}`, fraction: () => 0.5 },
    runtime,
    logger,
    openLimitStore: () => {
      throw new Error('not here')
    },
    outputs,
  }
  return {
    clock,
    runtime,
    lines,
    create: (config: object = {}) =>
      auditLog.create(
        parsePolicyConfig(auditLog, {
          sinks: [{ type: 'stdout', flush_ms: 0 }],
          redaction: {},
          content: 'redacted',
          ...config,
        }),
        deps,
      ),
    records: () =>
      Buffer.concat(outputs.stdout)
        .toString()
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as AuditRecord),
  }
}

const exchange: Exchange = {
  requestId: 'req-1',
  method: 'POST',
  path: '/v1/chat/completions',
  route: { name: 'chat' },
  queryNames: () => [],
  header: () => undefined,
  body: () => Buffer.from(BODY),
  caller: () => ({ address: '192.0.2.7' }),
}

/** As it comes back from a gateway that carried it. */
async function reserve(instance: PolicyInstance, change: Partial<Exchange> = {}): Promise<Reservation> {
  const decision = await instance.decide({ ...exchange, ...change })
  if (decision.type !== 'pass' || decision.reservation === undefined) throw new Error('nothing was reserved')
  return JSON.parse(JSON.stringify(decision.reservation)) as Reservation
}

describe('content of a request that is not over', () => {
  it('does not travel with the reservation', async () => {
    const { create, records, clock } = gateway()
    const instance = create()
    const reservation = await reserve(instance)
    expect(JSON.stringify(reservation)).not.toMatch(/Plain words|EMAIL|sorbonne/)
    await clock.pass(5_000)
    instance.observe?.({ ...ENDED, reservations: [reservation] })
    await clock.pass(1)
    expect(records()).toMatchObject([{ [REQUEST]: MASKED, [`${REQUEST}.findings`]: { EMAIL: 1 } }])
  })

  it.each([
    ['a body that is no call', { path: '/v1/unknown' }, MASKED],
    ['a body that is no JSON', { body: () => Buffer.from(`Ask ${EMAIL}`) }, 'Ask [EMAIL]'],
    [
      'a call that is refused later',
      { body: () => Buffer.from(BODY.replace('"model"', '"modal"')) },
      MASKED.replace('"model"', '"modal"'),
    ],
  ])('may be %s', async (_name, change, expected) => {
    const { create, records, clock } = gateway()
    const instance = create()
    instance.observe?.({ ...ENDED, reservations: [await reserve(instance, change)] })
    await clock.pass(1)
    expect(records()).toMatchObject([{ [REQUEST]: expected }])
  })

  it('is in the record of a request that ends before it is made', async () => {
    const { create, records, clock } = gateway()
    const instance = create()
    const reservation = await reserve(instance)
    instance.observe?.({ ...ENDED, reservations: [reservation] })
    expect(records()).toEqual([])
    await clock.pass(1)
    expect(records()).toMatchObject([{ [REQUEST]: MASKED }])
  })

  it('is found by an instance with another config, as after a change in the middle of a request', async () => {
    const { create, records, clock } = gateway()
    const reservation = await reserve(create())
    create({ max_content_bytes: 4_096 }).observe?.({ ...ENDED, reservations: [reservation] })
    await clock.pass(1)
    expect(records()).toMatchObject([{ [REQUEST]: MASKED }])
  })

  it('is lost with its process, and the record says so', async () => {
    const reservation = await reserve(gateway().create())
    const { create, records, clock } = gateway()
    create().observe?.({ ...ENDED, reservations: [reservation] })
    await clock.pass(1)
    expect(records()).toMatchObject([
      { 'portcullis.request.id': 'req-1', 'client.address': '192.0.2.7', [`${REQUEST}.dropped`]: 'lost' },
    ])
    expect(records()[0]).not.toHaveProperty([REQUEST])
  })

  it('travels where it is a hash, or was dropped', async () => {
    const hashed = await reserve(gateway().create({ content: 'hash', hash_key: 'a-key-of-16-bytes-or-more' }))
    const unreadable = await reserve(gateway().create(), {
      header: (name) => (name === 'content-encoding' ? 'br' : undefined),
    })
    const { create, records, clock } = gateway()
    const instance = create()
    for (const reservation of [hashed, unreadable]) instance.observe?.({ ...ENDED, reservations: [reservation] })
    await clock.pass(1)
    expect(records()).toMatchObject([
      { [`${REQUEST}.hash`]: expect.stringMatching(/^[0-9a-f]{64}$/) },
      { [`${REQUEST}.dropped`]: 'unreadable' },
    ])
  })

  it('travels where there is no room for it, redacted', async () => {
    const runtime = createRuntime()
    const full = { hold: () => false, take: () => false, drop: () => undefined, close: () => undefined }
    runtime.share('audit.held-content', null, () => full)
    const reservation = await reserve(gateway(runtime).create())
    expect(JSON.stringify(reservation)).toContain('[EMAIL]')
    expect(JSON.stringify(reservation)).not.toContain(EMAIL)
    const { create, records, clock } = gateway()
    create().observe?.({ ...ENDED, reservations: [reservation] })
    await clock.pass(1)
    expect(records()).toMatchObject([{ [REQUEST]: MASKED }])
  })

  it('is not made for a record that nobody wants', async () => {
    const { create, records, lines, clock } = gateway()
    const instance = create({ only_on: ['errors'], redaction: { custom: [{ type: 'PLAIN', pattern: 'Plain' }] } })
    const [unwanted, wanted] = [await reserve(instance), await reserve(instance)]
    instance.observe?.({ ...ENDED, reservations: [unwanted] })
    instance.observe?.({ ...ENDED, status: 500, reservations: [wanted] })
    instance.observe?.({ ...ENDED, status: 500, reservations: [unwanted] })
    await clock.pass(1)
    expect(records()).toMatchObject([
      { [`${REQUEST}.dropped`]: 'lost' },
      { [REQUEST]: MASKED.replace('Plain', '[PLAIN]') },
    ])
    expect(lines).toEqual([])
  })

  it('reaches the sinks although the process ends at once', async () => {
    const { create, records, runtime, clock } = gateway()
    const instance = create()
    instance.observe?.({ ...ENDED, reservations: [await reserve(instance)] })
    const closing = runtime.close()
    await clock.pass(3_000)
    await closing
    expect(records()).toMatchObject([{ [REQUEST]: MASKED }])
  })
})
