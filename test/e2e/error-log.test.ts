/**
 * Kong's error log where nginx itself complains of a request: with kong/kong.env nothing of the request is in it, and
 * llm-edge says what failed. The control shows that the canaries are there once somebody switches nginx's lines on.
 */

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Canaries, createCanaries, leaksIn } from '../canary/support/canaries.ts'
import { configOf, KEYS, tokens } from './support/config.ts'
import { kongMissing, startKong } from './support/host.ts'
import type { Kong, KongConfig, PluginConfig } from './support/kong.ts'
import { until } from './support/wait.ts'

const BEGINNING = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{'

/** What the upstream does with a request, as its header `x-mischief` says. */
const MISCHIEF: Readonly<Record<string, (socket: Socket) => void>> = {
  reset: (socket) => socket.resetAndDestroy(),
  close: (socket) => socket.destroy(),
  nonsense: (socket) => socket.end('nonsense\r\n\r\n'),
  'bad-header': (socket) => socket.end('HTTP/1.1 200 OK\r\nno colon in here\r\n\r\n'),
  'long-header': (socket) => socket.end(`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(70_000)}\r\n\r\n`),
  hang: () => undefined,
  'broken-off': (socket) => {
    socket.write(BEGINNING)
    setTimeout(() => socket.destroy(), 50)
  },
  'hang-midway': (socket) => void socket.write(BEGINNING),
}

/** What llm-edge says of each, by its route. */
const SAID: Readonly<Record<string, RegExp>> = {
  reset: /no reply from the upstream: status 502, .*answered: 502, connected after: [\d.]+, headers after: -,/,
  close: /no reply from the upstream: status 502,/,
  nonsense: /what the upstream sent is no HTTP:/,
  'bad-header': /no reply from the upstream: status 502,/,
  'long-header': /no reply from the upstream: status 502,/,
  hang: /no reply from the upstream: status 504,/,
  'broken-off': /the upstream broke its reply off: status 200,/,
  'hang-midway': /the upstream broke its reply off: status 200,/,
  refusing: /no reply from the upstream: status 502, .*answered: 502, connected after: -,/,
  retrying: /no reply from the upstream: status 502, .*answered: 502, 502, connected after: -, -,/,
  nowhere: /failed without asking the upstream: status 503, service nowhere, route nowhere,/,
  throwing: /failed without asking the upstream: status 500,/,
  unbuffered: /no reply from the upstream: status 504,/,
}

/** What nginx says of a client that does not speak HTTP well, or too much of it. */
const UNSEEMLY: Readonly<Record<string, (canary: string) => string>> = {
  'a long header': (canary) =>
    `GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${canary}${'x'.repeat(40_000)}\r\n\r\n`,
  'a header with a NUL': (canary) => `GET / HTTP/1.1\r\nhost: a\r\nx-key: ${canary}\0\r\n\r\n`,
  'a long address': (canary) => `GET /?key=${canary}${'x'.repeat(40_000)} HTTP/1.1\r\nhost: a\r\n\r\n`,
  'a wrong version': (canary) => `GET /?key=${canary} HTTP/9.9\r\nhost: a\r\n\r\n`,
  'no host': (canary) => `GET /?key=${canary} HTTP/1.1\r\n\r\n`,
  'a large body': (canary) => `POST /reset?key=${canary} HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n`,
  'a bad chunk': (canary) =>
    `POST /reset?key=${canary} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n`,
}

const throwing: PluginConfig = { name: 'pre-function', config: { access: ['error("a plugin of somebody else")'] } }

function configuration(upstream: string): KongConfig {
  const services = Object.keys(SAID).map((name) => {
    const url = name in MISCHIEF || name === 'unbuffered' ? upstream : 'http://127.0.0.1:1'
    const route = name === 'unbuffered' ? { route: { response_buffering: false, request_buffering: false } } : {}
    const extra = name === 'throwing' ? { extra: [throwing] } : {}
    const { services: [service] = [] } = configOf(url, { [name]: { limits: [tokens()], ...route, ...extra } })
    const fields = { name, read_timeout: 500, retries: name === 'retrying' ? 1 : 0 }
    return { ...service, ...fields, ...(name === 'nowhere' ? { url: 'http://nowhere.invalid' } : {}) }
  })
  return { ...configOf(upstream, {}), services }
}

describe.skipIf(kongMissing).each([
  ['as kong.env has it', {}, true],
  ['with nginx’s own lines about requests', { KONG_NGINX_PROXY_ERROR_LOG: '/dev/stderr info' }, false],
])('the error log of a real Kong %s', (_name, env, clean) => {
  const canaries: Canaries = createCanaries('text')
  const upstream = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', (head) => MISCHIEF[/^x-mischief: (.*)\r$/m.exec(String(head))?.[1] ?? '']?.(socket))
  })
  let kong: Kong

  beforeAll(async () => {
    upstream.listen(0, '127.0.0.1')
    await once(upstream, 'listening')
    const address = upstream.address()
    if (address === null || typeof address === 'string') throw new Error('the upstream has no port')
    kong = await startKong({ config: configuration(`http://127.0.0.1:${address.port}`), env })
  }, 120_000)
  afterAll(async () => {
    await kong?.stop()
    upstream.close()
  })

  async function fail(route: string): Promise<void> {
    const plant = (place: string) => canaries.plant(`${place} of ${route}`)
    const path = `/${route}/v1beta/models/${plant('path')}:generateContent?token=${plant('query')}`
    const answered = fetch(kong.url + path, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${KEYS.alice}`,
        'content-type': 'application/json',
        referer: `http://app.example/?token=${plant('referer')}`,
        'x-custom': plant('header'),
        'x-mischief': route === 'unbuffered' ? 'hang' : route,
      },
      body: JSON.stringify({
        contents: [{ parts: [{ text: plant('prompt') }] }],
        generationConfig: { maxOutputTokens: 10 },
      }),
    })
    // Half of what comes back is no HTTP, or ends too soon.
    await answered.then((response) => response.text()).catch(() => undefined)
  }

  async function misbehave(how: string, text: (canary: string) => string): Promise<void> {
    const socket = connect(kong.port, '127.0.0.1').on('error', () => undefined)
    socket.write(text(canaries.plant(how)))
    await Promise.race([once(socket, 'data'), once(socket, 'close')])
    socket.destroy()
  }

  const ours = async (what: RegExp) =>
    (await kong.log()).split('\n').filter((line) => line.includes('[llm-edge]') && what.test(line))

  test.each(Object.entries(SAID))('says that %s failed, and how', async (route, said) => {
    const lines = () => ours(new RegExp(`service ${route}, route ${route},.* request_id: [0-9a-f]{32}`))
    // More than a few in a second are only counted.
    await until(`a line about ${route}`, async () => {
      await fail(route)
      return (await lines()).length > 0
    })
    for (const line of await lines()) expect(line).toMatch(said)
  })

  test('counts a flood instead of writing it', async () => {
    const flood = () => ours(/\d+ more requests failed: .*refusing \d+ times/)
    const before = (await flood()).length
    await Promise.all(Array.from({ length: 60 }, () => fail('refusing')))
    await until('the count', async () => (await flood()).length > before)
  })

  test(clean ? 'holds nothing of any request' : 'holds the query of nearly every one', async () => {
    for (const [how, text] of Object.entries(UNSEEMLY)) await misbehave(how, text)
    const leaks = async () => leaksIn(canaries, [{ name: 'the log', text: await kong.log() }])
    if (clean) {
      // What nginx had to say of those before is written by the time that the last one's line is.
      const before = (await ours(/service hang,/)).length
      await until('one more line', async () => {
        await fail('hang')
        return (await ours(/service hang,/)).length > before
      })
      expect(await leaks()).toEqual([])
      expect(canaries.planted.size).toBeGreaterThan(60)
    } else {
      // After Kong went over to another location nginx's line ends before the request.
      const routes = Object.keys(SAID).filter((route) => route !== 'unbuffered')
      const expected = [
        ...routes.map((route) => `query of ${route} in the log`),
        ...Object.keys(UNSEEMLY).map((how) => `${how} in the log`),
      ]
      await until(
        'the leaks',
        async () => {
          const found = await leaks()
          return expected.every((leak) => found.includes(leak))
        },
        5_000,
      ).catch(() => undefined)
      expect(await leaks()).toEqual(expect.arrayContaining(expected))
    }
  })
})
