import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fields } from '../../../policies/audit/config.ts'
import type { Content } from '../../../policies/audit/content.ts'
import { createHeldContent, openHeldContent } from '../../../policies/audit/held-content.ts'
import { type AuditRecord, auditLog } from '../../../policies/audit/index.ts'
import { LOST } from '../../../policies/audit/missing-content.ts'
import { readMovedContent } from '../../../policies/audit/moved-content.ts'
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

  it('forgets what went nowhere within two minutes, unless it is taken before', async () => {
    const clock = createTestClock()
    const held = createHeldContent({ clock, mostBytes: 1_000_000, patienceMs: 3_600_000 })
    const given: Content[] = []
    for (const id of ['a', 'b', 'c']) held.hold(id, 100, () => text(id))
    await clock.pass(1)
    for (const id of ['a', 'b', 'unknown']) held.expire(id)
    await clock.pass(30_000)
    expect(held.take('b', (content) => void given.push(content))).toBe(true)
    expect(given).toEqual([text('b')])
    await clock.pass(90_000)
    expect(held.take('a', (content) => void given.push(content))).toBe(false)
    expect(held.size).toBe(1)
    expect(clock.waiting).toBe(0)
    expect(held.take('c', (content) => void given.push(content))).toBe(true)
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

describe('content that moves to another process', () => {
  /** Both with one clock. */
  function processes(mostBytes = 1_000_000) {
    const from = place(mostBytes)
    const to = createHeldContent({ clock: from.clock, mostBytes, patienceMs: 1_000 })
    const move = (bytes = 1_000_000) => from.held.release(bytes).map((moved) => to.adopt(moved))
    return { ...from, to, move }
  }

  it('is in one of them alone', async () => {
    const { hold, held, to, move, given, use, clock } = processes()
    hold('a')
    hold('b')
    await clock.pass(1)
    expect(move()).toEqual([true, true])
    expect([held.size, to.size]).toEqual([0, 2])
    expect(held.take('a', use)).toBe(false)
    expect(to.take('a', use)).toBe(true)
    expect(given).toEqual([text('a')])
    to.drop('b')
    expect(to.size).toBe(0)
  })

  it('is made before it goes, and stays for whoever waits for it', async () => {
    const { hold, held, to, move, given, use, clock } = processes()
    hold('a')
    hold('b')
    held.take('b', use)
    expect(move()).toEqual([])
    expect(held.size).toBe(2)
    await clock.pass(1)
    expect(move()).toEqual([true])
    expect(given).toEqual([text('b')])
    expect(to.take('a', use)).toBe(true)
  })

  it('goes oldest first and in pieces, of which a large one is alone', async () => {
    const { held, clock } = processes()
    for (const [id, length] of [
      ['a', 100],
      ['b', 5_000],
      ['c', 100],
      ['d', 100],
    ] as const)
      held.hold(id, length, () => text('x'.repeat(length)))
    await clock.pass(7)
    const pieces = [held.release(2_000), held.release(2_000), held.release(2_000), held.release(2_000)]
    expect(pieces.map((piece) => piece.map(({ id }) => id))).toEqual([['a'], ['b'], ['c', 'd'], []])
    expect(pieces[0]).toEqual([{ id: 'a', waitedMs: 7, content: text('x'.repeat(100)) }])
  })

  it('is waited for where it is expected', async () => {
    const { hold, to, move, given, use, clock } = processes()
    hold('a')
    to.expect(100)
    expect(to.take('a', use)).toBe(true)
    expect(to.take('a', use)).toBe(false)
    expect(to.wanted()).toEqual(['a'])
    await clock.pass(1)
    expect(move()).toEqual([true])
    expect(given).toEqual([text('a')])
    expect([to.size, to.wanted()]).toEqual([0, []])
  })

  it('is lost when it does not come in time, for as long as it is expected', async () => {
    const { to, given, use, clock } = processes()
    to.expect(100)
    expect(to.take('a', use)).toBe(true)
    await clock.pass(99)
    expect(to.take('b', use)).toBe(true)
    await clock.pass(1)
    expect(to.take('c', use)).toBe(false)
    await clock.pass(2_900)
    expect(given).toEqual([LOST])
    await clock.pass(100)
    expect(given).toEqual([LOST, LOST])
    expect(to.wanted()).toEqual([])
  })

  it('is lost at once when the process ends that waits for it', () => {
    const { to, given, use } = processes()
    to.expect(100)
    to.take('a', use)
    to.close()
    expect(given).toEqual([LOST])
    expect(to.take('b', use)).toBe(false)
    expect(to.adopt({ id: 'a', waitedMs: 0, content: text('a') })).toBe(false)
  })

  it('that nobody wants is not kept when it comes', async () => {
    const { hold, to, move, clock } = processes()
    hold('a')
    to.expect(100)
    to.drop('a')
    await clock.pass(1)
    move()
    expect(to.size).toBe(0)
  })

  it('goes back to where it is asked for', async () => {
    const { hold, held, to, move, given, use, clock } = processes()
    hold('a')
    await clock.pass(1)
    move()
    held.expect(100)
    held.take('a', use)
    const moved = held.wanted().flatMap((id) => to.find(id) ?? [])
    for (const one of moved) held.adopt(one)
    expect(given).toEqual([text('a')])
    expect([held.size, to.size, to.find('a')]).toEqual([0, 0, undefined])
  })

  it('is not found while it is still to be made', async () => {
    const { hold, held, clock } = processes()
    hold('a')
    expect(held.find('a')).toBeUndefined()
    await clock.pass(1)
    expect(held.find('a')).toMatchObject({ id: 'a' })
  })

  it('takes no more room than other content, and none of what is here', async () => {
    const { hold, to, move, given, use, clock } = processes(2_000)
    expect(to.adopt({ id: 'b', waitedMs: 0, content: text('own') })).toBe(true)
    expect(to.adopt({ id: 'large', waitedMs: 0, content: text('x'.repeat(1_000)) })).toBe(false)
    expect(to.adopt({ id: 'b', waitedMs: 0, content: text('other') })).toBe(true)
    hold('a')
    await clock.pass(1)
    expect(move()).toEqual([true])
    expect(to.size).toBe(2)
    to.take('b', use)
    expect(given).toEqual([text('own')])
  })

  it('keeps its age, and is forgotten an hour after its request at the latest but one', async () => {
    const { to, clock } = processes()
    expect(to.adopt({ id: 'old', waitedMs: 1_001, content: text('old') })).toBe(false)
    expect(to.adopt({ id: 'aged', waitedMs: 900, content: text('aged') })).toBe(true)
    await clock.pass(500)
    expect(to.adopt({ id: 'young', waitedMs: 0, content: text('young') })).toBe(true)
    to.hold('own', 1, () => text('own'))
    await clock.pass(500)
    expect(to.size).toBe(2)
    await clock.pass(1_000)
    expect(to.size).toBe(1)
    expect(to.find('own')).toMatchObject({ waitedMs: 1_500 })
    expect(clock.waiting).toBe(0)
  })

  it('is given once, whichever process hears of the end, whenever and however often it moves', async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('hold' as const), at: fc.nat(1), bytes: fc.nat(400) }),
      fc.record({ do: fc.constant('end' as const), at: fc.nat(1), of: fc.nat(30) }),
      fc.record({ do: fc.constant('move' as const) }),
      fc.record({ do: fc.constant('wait' as const) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const clock = createTestClock()
        const [old, next] = [0, 1].map(() => createHeldContent({ clock, mostBytes: 1_000_000, patienceMs: 100_000 }))
        if (old === undefined || next === undefined) return expect.unreachable()
        for (const held of [old, next]) held.expect(100_000)
        const open: string[] = []
        const given: string[] = []
        const ended: string[] = []
        const move = () => {
          for (const moved of old.release(1_500)) expect(next.adopt(moved)).toBe(true)
          for (const id of old.wanted()) {
            const found = next.find(id)
            if (found !== undefined) expect(old.adopt(found)).toBe(true)
          }
        }
        for (const [turn, one] of steps.entries()) {
          const held = 'at' in one && one.at === 0 ? old : next
          if (one.do === 'wait') await clock.pass(1)
          else if (one.do === 'move') move()
          else if (one.do === 'hold') {
            expect(held.hold(`r${turn}`, one.bytes, () => text(`r${turn}`))).toBe(true)
            open.push(`r${turn}`)
          } else if (open.length > 0) {
            const [id = ''] = open.splice(one.of % open.length, 1)
            expect(held.take(id, (content) => void given.push(content[REQUEST] ?? 'lost'))).toBe(true)
            ended.push(id)
          }
        }
        for (let round = 0; round < 100 && (given.length < ended.length || old.size > 0); round += 1) {
          await clock.pass(1)
          move()
        }
        expect(given.sort()).toEqual(ended.sort())
        expect([old.size, next.size]).toEqual([0, open.length])
      }),
      { numRuns: 200 },
    )
  })
})

describe('content from another process', () => {
  const good = { id: 'Ab_-09', waitedMs: 12.5, content: { [REQUEST]: '{"a":"[EMAIL]"}' } }

  it.each([
    ['text', good],
    [
      'text with all that is said of it',
      {
        ...good,
        content: { ...good.content, [`${REQUEST}.truncated`]: true, [`${REQUEST}.findings`]: { EMAIL: 1, A_2: 7 } },
      },
    ],
    ['a reason why there is none', { ...good, content: { [`${REQUEST}.dropped`]: 'redaction_failed' } }],
    ['the longest text', { ...good, content: { [REQUEST]: 'x'.repeat(Number(fields.max_content_bytes.type.max)) } }],
  ])('may be %s', (_name, moved) => {
    expect(readMovedContent(JSON.parse(JSON.stringify(moved)))).toEqual(moved)
  })

  const withContent = (content: unknown) => ({ ...good, content })
  it.each([
    ['nothing', null],
    ['a list', [good]],
    ['a text', 'x'],
    ['without an id', { ...good, id: undefined }],
    ['with an id that is none', { ...good, id: '../x' }],
    ['with an id too long', { ...good, id: 'x'.repeat(65) }],
    ['with an id that is a number', { ...good, id: 7 }],
    ['with no age', { ...good, waitedMs: undefined }],
    ['from the future', { ...good, waitedMs: -1 }],
    ['with an age that is none', { ...good, waitedMs: Number.NaN }],
    ['with an endless age', { ...good, waitedMs: Number.POSITIVE_INFINITY }],
    ['with an age as text', { ...good, waitedMs: '5' }],
    ['with something more', { ...good, body: 'x' }],
    ['without content', withContent(undefined)],
    ['with empty content', withContent({})],
    ['with content that is a text', withContent('x')],
    ['with content that is a list', withContent([])],
    ['with a text that is none', withContent({ [REQUEST]: 5 })],
    ['with a text too long', withContent({ [REQUEST]: 'é'.repeat(524_289) })],
    ['with another member of a record', withContent({ ...good.content, 'user.id': 'x' })],
    ['with a hash', withContent({ ...good.content, [`${REQUEST}.hash`]: 'ab' })],
    ['with findings alone', withContent({ [`${REQUEST}.findings`]: { EMAIL: 1 } })],
    ['truncated, but not really', withContent({ ...good.content, [`${REQUEST}.truncated`]: false })],
    ['with findings that are a list', withContent({ ...good.content, [`${REQUEST}.findings`]: [1] })],
    ['with a finding of no kind', withContent({ ...good.content, [`${REQUEST}.findings`]: { 'a secret': 1 } })],
    ['with a finding without number', withContent({ ...good.content, [`${REQUEST}.findings`]: { EMAIL: '1' } })],
    ['with a finding of none', withContent({ ...good.content, [`${REQUEST}.findings`]: { EMAIL: 0 } })],
    ['with a prototype', withContent(JSON.parse(`{"${REQUEST}":"x","__proto__":{"a":1}}`))],
    [
      'with a prototype among the findings',
      withContent(JSON.parse(`{"${REQUEST}":"x","${REQUEST}.findings":{"__proto__":1}}`)),
    ],
    [
      'with too many kinds',
      withContent({
        ...good.content,
        [`${REQUEST}.findings`]: Object.fromEntries(Array.from({ length: 1_001 }, (_, n) => [`T${n}`, 1])),
      }),
    ],
    ['with a reason and a text', withContent({ ...good.content, [`${REQUEST}.dropped`]: 'unreadable' })],
    ['lost already', withContent({ [`${REQUEST}.dropped`]: 'lost' })],
    ['with a reason that is none', withContent({ [`${REQUEST}.dropped`]: 'x' })],
  ])('is not taken %s', (_name, moved) => {
    expect(readMovedContent(moved)).toBeUndefined()
  })

  it('is either read as it is or not at all', () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.jsonValue().map(withContent)), (value) => {
        const read = readMovedContent(value)
        expect(read === undefined || JSON.stringify(read) === JSON.stringify(value)).toBe(true)
      }),
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

  it('is let go when the request went nowhere and nobody asks for its record', async () => {
    const { create, runtime, records, clock } = gateway()
    const instance = create()
    const held = openHeldContent({ runtime, clock })
    const [late, refused, forwarded] = [await reserve(instance), await reserve(instance), await reserve(instance)]
    for (const given of [late, refused]) await instance.settle?.(given, { ended: 'not_forwarded' })
    await instance.settle?.(forwarded, { ended: 'complete' })
    instance.observe?.({ ...ENDED, reservations: [refused] })
    await clock.pass(1)
    expect(records()).toMatchObject([{ [REQUEST]: MASKED }])
    expect(held.size).toBe(2)
    await clock.pass(120_000)
    expect(held.find(late.id)).toBeUndefined()
    expect(held.find(forwarded.id)).toBeDefined()
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
