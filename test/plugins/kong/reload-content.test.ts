/** Redacted content of requests under way when one plugin server takes over from another, each a process of its own. */

import { once } from 'node:events'
import { existsSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { entryKey, type PluginEntry } from '../../../plugins/kong/shared-context.ts'
import type { AuditRecord } from '../../../policies/audit/index.ts'
import type { KongRequest } from '../../support/kong-client/request.ts'
import { settleMessage } from '../../support/kong-client/settle-message.ts'
import { createWorker, type PluginConfig, type Worker } from '../../support/kong-client/worker.ts'
import { builtServer } from './built-server.ts'
import { answered, launch, llmRequest, PROMPT, type ServerProcess } from './process-harness.ts'
import { rawConnection, until } from './server/harness.ts'

let directory: string
let socket: string
const processes: ServerProcess[] = []
const workers: Worker[] = []

const built = builtServer((folder, path) => {
  directory = folder
  socket = path
})
const command = join(built, 'portcullis-kong.cjs')
afterEach(async () => {
  closeWorkers()
  for (const { child, stderr } of processes.splice(0)) {
    const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
    child.kill('SIGKILL')
    await gone
    for (const pid of pidsIn(stderr())) if (isOurs(pid)) process.kill(pid, 'SIGKILL')
  }
  rmSync(directory, { recursive: true })
})

/** nginx as far as a plugin server looks: a name and a parent. Ends its server with itself, and at once when it is asked. */
const WORKER = `
  "$1" "$2" serve --socket "$3" & server=$!
  trap 'kill -TERM $server' TERM
  wait $server
  wait $server
  echo "server exited with $?" >&2
`

function nginxPath(): string {
  const nginx = join(directory, 'nginx')
  if (!existsSync(nginx)) symlinkSync('/bin/sh', nginx)
  return nginx
}

async function startServer(): Promise<ServerProcess> {
  const server = launch(['-c', WORKER, 'worker', process.execPath, command, socket], nginxPath())
  processes.push(server)
  await until(() => server.stderr().includes('server started at'))
  return server
}

function kong(): Worker {
  const worker = createWorker({ socket })
  workers.push(worker)
  return worker
}

function closeWorkers(): void {
  for (const worker of workers.splice(0)) worker.close()
}

function plugin(): PluginConfig {
  const sinks = [{ type: 'file', path: join(directory, 'audit.ndjson'), flush_ms: 0 }]
  const custom = [{ type: 'CANARY', pattern: PROMPT }]
  const config = { __plugin_id: 'p', sinks, content: 'redacted', redaction: { custom } }
  return { plugin: 'llm-audit-log', id: 'p', seq: 1, config: JSON.stringify(config) }
}

function records(): readonly AuditRecord[] {
  const file = join(directory, 'audit.ndjson')
  if (!existsSync(file)) return []
  const text = readFileSync(file, 'utf8')
  expect(text).not.toContain(PROMPT)
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as AuditRecord)
}

async function letThrough(worker: Worker, requestId: string): Promise<KongRequest> {
  const request = llmRequest({ request_id: requestId })
  expect(await worker.access(request, plugin())).toBe('done')
  answered(request, { prompt_tokens: 10, completion_tokens: 5 }, 'llm-audit-log')
  return request
}

/** What `settle.lua` of llm-edge sends once the request is over. */
async function settle(request: KongRequest, requestId: string, through?: Awaited<ReturnType<typeof rawConnection>>) {
  const { mark, protocol, reservations, report } = request.shared.get(entryKey('llm-audit-log')) as PluginEntry
  const seen = {
    data: { request: { id: requestId }, response: { status: 200 } },
    entries: [{ plugin: 'llm-audit-log' }],
  }
  const records = [{ plugin: mark.plugin, plugin_id: mark.plugin_id, protocol, reservations, report, seen }]
  const connection = through ?? (await rawConnection(socket))
  const configs = [{ plugin: 'llm-audit-log', config: plugin().config }]
  const [, , error, result] = await connection.request(0, 'portcullis.Settle', settleMessage({ records, configs }))
  if (through === undefined) connection.socket.destroy()
  expect({ error, result }).toEqual({ error: null, result: { unknown: [] } })
}

const LOST = { 'portcullis.content.request.dropped': 'lost' }
/** The record of a request with its content. */
const whole = (id: string) => ({
  'portcullis.request.id': id,
  'portcullis.content.request': expect.stringContaining('[CANARY'),
})

async function recordsOf(count: number): Promise<readonly AuditRecord[]> {
  await until(() => records().length >= count)
  return records()
}

const hasEnded = ({ stderr }: ServerProcess) => until(() => stderr().includes('server exited with 0'))

/** Of the plugin servers themselves, as they log it. */
function pidsIn(log: string): readonly number[] {
  const started = log.split('\n').filter((line) => line.includes('server started at'))
  return started.map((line) => (JSON.parse(line) as { readonly pid: number }).pid)
}

function pidOf({ stderr }: ServerProcess): number {
  return pidsIn(stderr())[0] ?? expect.unreachable('a server that did not start')
}

/** Whether the process is still there, and no other one by now. */
function isOurs(pid: number): boolean {
  const file = `/proc/${pid}/cmdline`
  return existsSync(file) && readFileSync(file, 'utf8').includes(socket)
}

test('goes from the old server to the new one, which writes the records', async () => {
  const old = await startServer()
  const worker = kong()
  const ids = Array.from({ length: 20 }, (_, n) => `r-${n}`)
  const requests = await Promise.all(ids.map((id) => letThrough(worker, id)))
  const next = await startServer()
  await hasEnded(old)
  for (const [n, request] of requests.entries()) await settle(request, ids[n] ?? '')
  expect(await recordsOf(20)).toMatchObject(ids.map(whole))
  expect(old.stderr() + next.stderr()).not.toMatch(/lost|fault|"level":[45]0/)
})

test('is waited for by a record that is written before it comes', async () => {
  const old = await startServer()
  const request = await letThrough(kong(), 'early')
  const pid = pidOf(old)
  process.kill(pid, 'SIGSTOP')
  await startServer()
  await settle(request, 'early')
  expect(records()).toEqual([])
  process.kill(pid, 'SIGCONT')
  expect(await recordsOf(1)).toMatchObject([whole('early')])
})

test('comes back to the old server, where the end of a request is still told', async () => {
  const old = await startServer()
  const [before, event] = [await rawConnection(socket), await rawConnection(socket)]
  const { plugin: Name, config: Config } = plugin()
  const [, , , started] = await before.request(1, 'plugin.StartInstance', { Name, Config })
  const { Id: InstanceId } = started as { readonly Id: number }
  // An event without an end keeps the connections.
  await event.request(2, 'plugin.HandleEvent', { InstanceId, EventName: 'access' })
  const mine = await letThrough(kong(), 'r-old')
  await startServer()
  await until(() => old.stderr().includes('another server has taken over'))
  const theirs = await letThrough(kong(), 'r-new')
  await settle(mine, 'r-old', before)
  await settle(theirs, 'r-new', before)
  expect(await recordsOf(2)).toMatchObject([whole('r-old'), whole('r-new')])
  before.socket.destroy()
  event.socket.destroy()
  closeWorkers()
  await hasEnded(old)
})

test('goes on to the next one, and the one after', async () => {
  const servers = [await startServer()]
  const requests = [await letThrough(kong(), 'r-0')]
  for (const id of ['r-1', 'r-2']) {
    servers.push(await startServer())
    requests.push(await letThrough(kong(), id))
  }
  for (const server of servers.slice(0, 2)) await hasEnded(server)
  for (const [n, request] of requests.entries()) await settle(request, `r-${n}`)
  expect(await recordsOf(3)).toMatchObject([whole('r-0'), whole('r-1'), whole('r-2')])
})

test('is lost with a server that is killed, and the record says so after a while', async () => {
  const old = await startServer()
  const request = await letThrough(kong(), 'r-1')
  process.kill(pidOf(old), 'SIGKILL')
  await until(() => old.stderr().includes('server exited with'))
  await startServer()
  await settle(request, 'r-1')
  expect(await recordsOf(1)).toMatchObject([{ 'portcullis.request.id': 'r-1', ...LOST }])
})

test('never goes over the socket unredacted', async () => {
  await startServer()
  await letThrough(kong(), 'r-1')
  let received = ''
  const spy = createServer((connection) => {
    connection.on('error', () => undefined)
    connection.on('data', (chunk) => {
      received += chunk.toString('latin1')
    })
  })
  spy.listen(`${socket}.spy`)
  await once(spy, 'listening')
  renameSync(`${socket}.spy`, socket)
  await until(() => received.includes('portcullis.Adopt') && received.includes('[CANARY'))
  expect(received).not.toContain(PROMPT)
  expect(received).not.toContain(Buffer.from(PROMPT).toString('base64'))
  for (const { child } of processes) child.kill('SIGTERM')
  spy.close()
})

test('waits for the next server when the worker that leaves takes the old one with it', async () => {
  const first = await underMaster()
  const request = await letThrough(kong(), 'r-1')
  first.child.kill('SIGUSR1')
  await until(() => first.stderr().split('server started at').length === 3)
  closeWorkers()
  await until(() => first.stderr().includes('"stopped"'))
  expect(first.stderr()).not.toContain('another server has taken over')
  await settle(request, 'r-1')
  expect(await recordsOf(1)).toMatchObject([whole('r-1')])
})

test('keeps no server waiting when all of Kong ends', async () => {
  const server = await startServer()
  await letThrough(kong(), 'r-1')
  closeWorkers()
  server.child.kill('SIGTERM')
  await hasEnded(server)
  expect(server.stderr()).not.toMatch(/lost|"level":[45]0/)
  expect(records()).toEqual([])
})

/** A worker that ends at once with its server told to; the next begins only then. */
const LEAVING_WORKER = `
  "$1" "$2" serve --socket "$3" & server=$!
  trap 'kill -TERM $server; exit' TERM
  wait $server
`
const MASTER = `
  start() { "$4" -c "$5" worker "$1" "$2" "$3" & worker=$!; }
  start "$@"
  trap 'kill -TERM $worker; wait $worker; start "$@"' USR1
  while :; do sleep 1 & wait $!; done
`

async function underMaster(): Promise<ServerProcess> {
  const nginx = nginxPath()
  const master = launch(['-c', MASTER, 'master', process.execPath, command, socket, nginx, LEAVING_WORKER], nginx)
  processes.push(master)
  await until(() => master.stderr().includes('server started at'))
  return master
}
