import { afterEach, describe, expect, test, vi } from 'vitest'
import { REFUSAL } from '../../../../plugins/kong/server/server.ts'
import { createRequest } from '../../../support/kong-client/request.ts'
import { type Handler, PLUGIN, startTestServer, type TestServer, type TestServerOptions, until } from './harness.ts'

let running: TestServer | undefined
afterEach(() => {
  running?.close()
  running = undefined
  vi.useRealTimers()
})

async function start(options: TestServerOptions): Promise<TestServer> {
  running = await startTestServer(options)
  return running
}

const refuse: Handler = (kong) => kong.response.exit(429, '{}', { 'retry-after': '1' })

describe('an event', () => {
  test('carries PDK calls to Kong and their results back', async () => {
    const seen: unknown[] = []
    const { worker, ended } = await start({
      async access(kong, config) {
        seen.push(config, await kong.request.getMethod(), await kong.request.getHeader('x-a'))
        await kong.ctx.shared.set('mark', { plugin: 'probe', list: [1, 'two'], none: null })
      },
      async log(kong) {
        seen.push(await kong.ctx.shared.get('mark'), await kong.ctx.shared.get('nothing'))
      },
    })
    const request = createRequest({
      method: 'POST',
      headers: [
        ['X-A', 'first'],
        ['x-a', 'second'],
      ],
    })
    const kong = worker()
    expect(await kong.access(request, PLUGIN)).toBe('done')
    expect(await kong.log(request, PLUGIN)).toBe('done')
    expect(seen).toEqual([{ note: 'one' }, 'POST', 'first', { plugin: 'probe', list: [1, 'two'] }, undefined])
    expect(ended).toEqual([
      { how: 'returned', roundTrips: 4 },
      { how: 'returned', roundTrips: 3 },
    ])
  })

  test('takes its steps from any connection', async () => {
    const { worker, connections } = await start({
      async access(kong) {
        for (let call = 0; call < 5; call++) await kong.request.getMethod()
      },
    })
    const kong = worker({ poolSize: 0 })
    expect(await kong.access(createRequest({}), PLUGIN)).toBe('done')
    await until(() => connections() === 0)
  })

  test('answers parallel PDK calls in their order', async () => {
    let seen: unknown
    const { worker } = await start({
      async access(kong) {
        const calls = ['a', 'b', 'c'].map((name) => kong.request.getHeader(name))
        seen = await Promise.all(calls)
      },
    })
    await worker().access(
      createRequest({
        headers: [
          ['a', '1'],
          ['b', '2'],
          ['c', '3'],
        ],
      }),
      PLUGIN,
    )
    expect(seen).toEqual(['1', '2', '3'])
  })

  test('is over once it exits, and what the plugin does then goes nowhere', async () => {
    let after: unknown
    const { worker, server } = await start({
      async access(kong) {
        await kong.response.exit(403, '{"error":{}}', { 'content-type': 'application/json' })
        after = await kong.request.getMethod().catch((error: Error) => error.name)
      },
    })
    const request = createRequest({})
    expect(await worker().access(request, PLUGIN)).toBe('exited')
    expect(request.reply).toEqual({
      status: 403,
      body: '{"error":{}}',
      headers: { 'content-type': 'application/json' },
    })
    expect(server.openEvents).toBe(0)
    await until(() => after !== undefined)
    expect(after).toBe('PDKError')
  })

  test('that throws in access is a 503, not a pass', async () => {
    const { worker, server, logged } = await start({
      async access(kong) {
        await kong.request.getMethod()
        throw new Error('secret prompt')
      },
    })
    const request = createRequest({})
    expect(await worker().access(request, PLUGIN)).toBe('exited')
    expect(request.reply?.status).toBe(503)
    expect(JSON.parse(request.reply?.body ?? '')).toMatchObject({ error: { code: 'policy_unavailable' } })
    expect(server.openEvents).toBe(0)
    expect(logged()).toContain('plugin fault')
    expect(logged()).not.toContain('secret prompt')
  })

  test('with an argument that cannot be sent still refuses', async () => {
    const { worker, server } = await start({
      access: async (kong) => void (await kong.ctx.shared.set('big', { big: 1n })),
    })
    const request = createRequest({})
    expect(await worker().access(request, PLUGIN)).toBe('exited')
    expect([request.reply?.status, server.openEvents]).toEqual([503, 0])
  })

  test('that throws in log just ends', async () => {
    const { worker, server } = await start({
      log() {
        throw new TypeError('x')
      },
    })
    expect(await worker().log(createRequest({}), PLUGIN)).toBe('done')
    expect(server.openEvents).toBe(0)
  })

  test('leaves nothing behind when refused, a hundred thousand times', async () => {
    const { server } = await start({ access: refuse })
    let id: unknown
    server.handle(
      'plugin.StartInstance',
      { Name: 'probe', Config: '{}' },
      {
        result: (value) => {
          id = (value as { Id: number }).Id
        },
        direct: () => expect.unreachable(),
        error: expect.unreachable,
      },
    )
    let exits = 0
    for (let event = 0; event < 100_000; event++) {
      server.handle(
        'plugin.HandleEvent',
        { InstanceId: id, EventName: 'access' },
        {
          result: (value) => {
            if ((value as { Data: { Method: string } }).Data.Method === 'kong.response.exit') exits += 1
          },
          direct: () => expect.unreachable(),
          error: expect.unreachable,
        },
      )
      if (event % 1_000 === 0) await new Promise(setImmediate)
    }
    expect(exits).toBe(100_000)
    expect(server.openEvents).toBe(0)
  })

  test('a thousand at once, through real sockets, all decided', async () => {
    const { worker, server } = await start({
      async access(kong) {
        const name = await kong.request.getHeader('x-n')
        await kong.ctx.shared.set('seen', name)
      },
    })
    const kong = worker()
    const requests = Array.from({ length: 1_000 }, (_, n) => createRequest({ headers: [['x-n', String(n)]] }))
    const ends = await Promise.all(requests.map((request) => kong.access(request, PLUGIN)))
    expect(new Set(ends)).toEqual(new Set(['done']))
    expect(requests.map((request) => request.shared.get('seen'))).toEqual(requests.map((_, n) => String(n)))
    expect(server.openEvents).toBe(0)
  })
})

describe('an event that Kong cannot go on with', () => {
  test('of a process before: access is refused, log is an error', async () => {
    const { server } = await start({})
    const answers: unknown[] = []
    const reply = {
      result: (value: unknown) => answers.push(value),
      direct: () => expect.unreachable(),
      error: (text: string) => answers.push(text),
    }
    server.handle('plugin.Step', { EventId: 1_000_000, Data: 'x' }, reply)
    server.handle('plugin.Step', { EventId: 1_000_001, Data: 'x' }, reply)
    expect(answers[0]).toEqual({ Data: REFUSAL, EventId: 1_000_000 })
    expect(REFUSAL).toMatchObject({ Method: 'kong.response.exit', Args: { 0: 503 } })
    expect(answers[1]).toBe('event id 1000001 not found')
  })

  test('because a table named the method is refused', async () => {
    let failure: unknown
    const { worker, server } = await start({
      async access(kong) {
        failure = await kong.ctx.shared.get('facts').catch((error: Error) => error.name)
      },
    })
    const request = createRequest({})
    request.shared.set('facts', { _method: 'plugin.StartInstance', Name: 'probe', Config: '{}' })
    expect(await worker().access(request, PLUGIN)).toBe('exited')
    expect(request.reply?.status).toBe(503)
    await until(() => failure !== undefined)
    expect(failure).toBe('PDKError')
    expect([server.openEvents, server.instances]).toEqual([0, 1])
  })

  test('because Kong answered twice is refused on both connections', async () => {
    let ask: (() => void) | undefined
    const { server } = await start({
      async access(kong) {
        await kong.request.getMethod()
        await new Promise<void>((resolve) => {
          ask = resolve
        })
      },
    })
    const results: Array<{ Data: { Method: string }; EventId: number }> = []
    const reply = {
      result: (value: unknown) => results.push(value as never),
      direct: () => expect.unreachable(),
      error: expect.unreachable,
    }
    server.handle('plugin.StartInstance', { Name: 'probe', Config: '{}' }, reply)
    const { Id: id } = results.shift() as unknown as { Id: number }
    server.handle('plugin.HandleEvent', { InstanceId: id, EventName: 'access' }, reply)
    const { EventId } = results.shift() ?? { EventId: -1 }
    server.handle('plugin.Step', { EventId, Data: 'POST' }, reply)
    await until(() => ask !== undefined)
    server.handle('plugin.Step', { EventId, Data: 'POST' }, reply)
    expect(results.map(({ Data }) => Data.Method)).toEqual(['kong.response.exit', 'kong.response.exit'])
    expect(server.openEvents).toBe(0)
  })

  test('because a PDK call failed in Kong rejects that call', async () => {
    let failure: unknown
    const { server } = await start({
      async access(kong) {
        failure = await kong.request.getMethod().catch((error: Error) => error.name)
      },
    })
    const results: Array<{ Data: unknown; EventId: number }> = []
    const reply = {
      result: (value: unknown) => results.push(value as never),
      direct: () => expect.unreachable(),
      error: expect.unreachable,
    }
    server.handle('plugin.StartInstance', { Name: 'probe', Config: '{}' }, reply)
    const { Id: id } = results.shift() as unknown as { Id: number }
    server.handle('plugin.HandleEvent', { InstanceId: id, EventName: 'access' }, reply)
    server.handle('plugin.StepError', { EventId: results.shift()?.EventId, Data: 'a secret' }, reply)
    await until(() => results.length > 0)
    expect(failure).toBe('PDKError')
    expect(results[0]?.Data).toBe('ret')
  })

  test('because it hangs is refused before Kong gives up', async () => {
    const { worker, server, ended } = await start({ access: () => new Promise(() => undefined), answerMs: 50 })
    const request = createRequest({})
    expect(await worker().access(request, PLUGIN)).toBe('exited')
    expect(request.reply?.status).toBe(503)
    expect([server.openEvents, ended[0]?.how]).toEqual([0, 'deadline'])
  })

  test('because its log phase hangs just ends', async () => {
    const { worker, ended } = await start({ log: () => new Promise(() => undefined), answerMs: 50 })
    expect(await worker().log(createRequest({}), PLUGIN)).toBe('done')
    expect(ended[0]?.how).toBe('deadline')
  })

  test('because the Lua side failed is forgotten, and its plugin told', async () => {
    let failure: unknown
    const { worker, server } = await start({
      async access(kong) {
        failure = await kong.request.getRawBody(1_000).catch((error: Error) => error.name)
      },
      idleMs: 50,
    })
    const request = createRequest({ body: Buffer.alloc(20_000) })
    expect(await worker().access(request, PLUGIN)).toBe('error_500')
    expect(server.openEvents).toBe(1)
    await until(() => server.openEvents === 0)
    await until(() => failure !== undefined)
    expect(failure).toBe('PDKError')
  })

  test('makes room for others when too many are open', async () => {
    const { worker, server, ended } = await start({
      access: async (kong) => void (await kong.request.getRawBody(1_000).catch(() => undefined)),
      maxOpen: 10,
    })
    const kong = worker()
    for (let n = 0; n < 50; n++) await kong.access(createRequest({ body: Buffer.alloc(20_000) }), PLUGIN)
    expect(server.openEvents).toBe(10)
    expect(ended).toHaveLength(40)
    expect(await kong.access(createRequest({ body: Buffer.alloc(10) }), PLUGIN)).toBe('done')
  })
})

describe('an instance', () => {
  test('keeps to its own config', async () => {
    const { worker } = await start({
      access: async (kong, config) => void (await kong.ctx.shared.set('note', (config as { note: string }).note)),
    })
    const kong = worker()
    const other = { ...PLUGIN, id: 'plugin-2', config: '{"note":"two"}' }
    for (const [plugin, note] of [
      [PLUGIN, 'one'],
      [other, 'two'],
      [PLUGIN, 'one'],
    ] as const) {
      const request = createRequest({})
      await kong.access(request, plugin)
      expect(request.shared.get('note')).toBe(note)
    }
  })

  test('that is idle for a minute is dropped, and Kong starts another', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { worker, server } = await start({ access: refuse })
    const kong = worker()
    await kong.access(createRequest({}), PLUGIN)
    expect(server.instances).toBe(1)
    vi.setSystemTime(Date.now() + 61_000)
    server.sweep()
    expect(server.instances).toBe(0)
    expect(await kong.access(createRequest({}), PLUGIN)).toBe('exited')
    expect([server.instances, kong.errors.length]).toEqual([1, 1])
  })

  test('of an older config is closed when Kong has a newer one', async () => {
    const { worker, server } = await start({ access: refuse })
    const kong = worker()
    await kong.access(createRequest({}), PLUGIN)
    await kong.access(createRequest({}), { ...PLUGIN, seq: 2, config: '{"note":"newer"}' })
    await until(() => server.instances === 1)
  })

  test.each([
    ['plugin.StartInstance', { Name: 'nobody', Config: '{}' }, 'no such plugin'],
    ['plugin.StartInstance', { Name: 'probe', Config: '{"key":"sk-secret' }, 'the instance could not be started'],
    ['plugin.HandleEvent', { InstanceId: 5, EventName: 'access' }, 'no plugin instance #5'],
    ['plugin.HandleEvent', {}, 'no plugin instance #NaN'],
    ['plugin.CloseInstance', 7, 'no plugin instance #7'],
    ['plugin.CloseInstance', '7', 'no plugin instance #7'],
    ['plugin.SetPluginDir', '/tmp', 'no such method'],
    ['plugin.GetPluginInfo', 'probe', 'no such method'],
    ['constructor', null, 'no such method'],
  ])('%s %j is an error: %s', async (method, argument, expected) => {
    const { server, logged } = await start({})
    let message: string | undefined
    const reply = {
      result: expect.unreachable,
      direct: () => expect.unreachable(),
      error: (text: string) => (message = text),
    }
    server.handle(method, argument, reply)
    expect(message).toBe(expected)
    expect(logged()).not.toContain('sk-secret')
  })

  test('has an id that no process before can have given out', async () => {
    const ids = new Set<number>()
    for (let run = 0; run < 5; run++) {
      const { server, close } = await startTestServer({})
      server.handle(
        'plugin.StartInstance',
        { Name: 'probe', Config: '{}' },
        {
          result: (value) => ids.add((value as { Id: number }).Id),
          direct: () => expect.unreachable(),
          error: expect.unreachable,
        },
      )
      close()
    }
    expect(ids.size).toBe(5)
    expect(Math.max(...ids)).toBeGreaterThan(2 ** 32)
  })
})
