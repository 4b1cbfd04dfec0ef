/** Certificates of a test's own authorities, made with openssl. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface TestAuthority {
  /** PEM text. */
  readonly ca: string
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
  readonly cert: string
  readonly key: string
  remove(): void
}

/** An authority and a certificate of it for 127.0.0.1 and localhost. */
export function createAuthority(name: string): TestAuthority {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-tls-'))
  const file = (which: string) => join(directory, which)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  openssl('req', '-x509', ...key, '-keyout', file('ca.key'), '-out', file('ca.crt'), '-subj', `/CN=${name}`)
  openssl('req', ...key, '-keyout', file('redis.key'), '-out', file('redis.csr'), '-subj', '/CN=localhost')
  writeFileSync(file('extensions'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n')
  const signed = ['-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-CAcreateserial', '-days', '2']
  openssl(
    'x509',
    '-req',
    '-in',
    file('redis.csr'),
    ...signed,
    '-extfile',
    file('extensions'),
    '-out',
    file('redis.crt'),
  )
  return {
    ca: readFileSync(file('ca.crt'), 'utf8'),
    caFile: file('ca.crt'),
    certFile: file('redis.crt'),
    keyFile: file('redis.key'),
    cert: readFileSync(file('redis.crt'), 'utf8'),
    key: readFileSync(file('redis.key'), 'utf8'),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}

function openssl(...args: readonly string[]): void {
  const { status, stderr } = spawnSync('openssl', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`openssl ${args[0]} failed: ${stderr}`)
}
