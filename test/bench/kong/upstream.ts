/**
 * An upstream that costs next to nothing, because a model does not run on the gateway's machine: nginx where there is
 * one (Kong brings it), Node otherwise, whose server takes three times as long for a request.
 */

import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { listens } from '../../e2e/support/ready.ts'
import { until } from '../../e2e/support/wait.ts'
import { REPLY } from './reply.ts'

const PROGRAMS = ['/usr/local/openresty/nginx/sbin/nginx', 'nginx']
const program = PROGRAMS.find((name) => spawnSync(name, ['-v']).error === undefined)

export const upstreamName = program === undefined ? 'Node' : 'nginx'

/** @param folder for nginx's own files */
export async function startUpstream(port: number, folder: string): Promise<() => Promise<void>> {
  if (program !== undefined) return startNginx(program, port, folder)
  const child = fork(new URL('node-upstream.ts', import.meta.url).pathname, [String(port)])
  await once(child, 'message')
  return () => ended(child, () => child.disconnect())
}

async function startNginx(name: string, port: number, folder: string): Promise<() => Promise<void>> {
  const prefix = join(folder, 'upstream')
  mkdirSync(join(prefix, 'logs'), { recursive: true })
  writeFileSync(join(prefix, 'nginx.conf'), configOf(port))
  const child = spawn(name, ['-p', prefix, '-c', join(prefix, 'nginx.conf')], { stdio: 'ignore' })
  await until('the upstream listens', () => listens(port, '127.0.0.1'), 10_000)
  return () => ended(child, () => child.kill())
}

async function ended(child: ChildProcess, end: () => void): Promise<void> {
  end()
  await once(child, 'exit')
}

function configOf(port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${kind};`)
  return `daemon off; master_process off; error_log stderr crit; pid nginx.pid;
events { worker_connections 1024; }
http {
  access_log off; keepalive_timeout 600s; keepalive_requests 1000000000; client_body_buffer_size 64k;
  ${temporary.join(' ')}
  server {
    listen 127.0.0.1:${port};
    location / { default_type application/json; return 200 '${REPLY}'; }
  }
}
`
}
