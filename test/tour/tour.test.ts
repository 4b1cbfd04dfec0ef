import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished, vi } from 'vitest'

// Starts Node, tsx and Express Gateway, and waits for a window to pass.
vi.setConfig({ testTimeout: 90_000 })

const ROOT = new URL('../..', import.meta.url).pathname

interface Run {
  readonly child: ChildProcess
  /** Everything printed so far. */
  text(): string
  readonly code: Promise<number | null>
}

function start(options: readonly string[], env: Readonly<Record<string, string>>): Run {
  const script = ['--import', 'tsx', 'test/tour/start.ts', ...options]
  const child = spawn(process.execPath, script, { cwd: ROOT, env: { ...process.env, NODE_ENV: '', ...env } })
  onTestFinished(() => void child.kill('SIGKILL'))
  let text = ''
  child.stdout.on('data', (piece) => {
    text += piece
  })
  child.stderr.on('data', (piece) => {
    text += piece
  })
  return { child, text: () => text, code: once(child, 'close').then(([code]) => code as number | null) }
}

it('with --once takes the whole tour, and says that every check holds', async () => {
  const run = start(['--once'], { PORT: '0' })
  expect([await run.code, run.text()]).toEqual([0, expect.stringContaining('13 of 13 checks hold.')])
  expect(run.text()).not.toMatch(/^ {2}✗|Warning|EG:/m)
})

it('serves after the tour until it is interrupted', async () => {
  const run = start([], { PORT: '0' })
  while (!run.text().includes('until Ctrl-C')) await once(run.child.stdout ?? run.child, 'data')
  const base = /Serving on (\S+)/.exec(run.text())?.[1]
  expect((await fetch(`${base}/v1/models`)).status).toBe(401)
  const key = /key (gold:\S+)/.exec(run.text())?.[1]
  expect((await fetch(`${base}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).status).toBe(200)
  run.child.kill('SIGINT')
  expect(await run.code).toBe(0)
})

it('says so when the port is taken, or is no port', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  onTestFinished(() => void other.close())
  const { port } = other.address() as AddressInfo
  const taken = start(['--once'], { PORT: String(port) })
  expect([await taken.code, taken.text()]).toEqual([
    1,
    `Port ${port} is taken. Choose another one: PORT=8080 npm start\n`,
  ])
  const wrong = start(['--once'], { PORT: 'http' })
  expect([await wrong.code, wrong.text()]).toEqual([1, 'PORT must be a port number, not "http"\n'])
})
