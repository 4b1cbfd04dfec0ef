/** `portcullis audit`: whether audit files are what was written, which of them may go, and the shape of a record. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { ChainPoint, ChainSeal } from '../../../policies/audit/chain.ts'
import type { ChainFault, VerifyOptions as ChainOptions, Verification } from '../../../policies/audit/verify.ts'
import { PortcullisError } from '../../../policies/errors.ts'
import { EXIT, type Finish, type Io } from '../io.ts'
import { asJson } from '../print.ts'
import type { AddCommands } from '../program.ts'

interface KeyOptions {
  readonly keyFile?: string
  readonly keyEnv: string
}

interface VerifyOptions extends KeyOptions {
  readonly seal?: string
  readonly atLeast?: string
  readonly json?: true
}

interface CheckpointOptions extends KeyOptions {
  readonly waitMs: string
}

const KEY_FILE = [
  '--key-file <file>',
  'file that holds the secret of the chain, for its owner alone (mode 0600); a line break at its end does not count',
] as const
const KEY_ENV = ['--key-env <name>', 'environment variable that holds it', 'PORTCULLIS_AUDIT_KEY'] as const

/** A gateway lets go between two batches, within a second at most. */
const LOCKED_RETRY_MS = 10

export const addAudit: AddCommands = (program, io, finish) => {
  const audit = program.command('audit').description('Checks what the audit log wrote.')

  audit
    .command('verify <file...>')
    .description('Finds any edit, removal, reordering or truncation in chained audit files, given in any order.')
    .option(...KEY_FILE)
    .option(...KEY_ENV)
    .option('--seal <file>', 'the seal, when it does not lie beside the audit file as FILE.chain')
    .option('--at-least <seq:mac>', 'a head that was noted elsewhere: the files must still reach it')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nGive every file of the chain: the current one and all rotated ones that were not deleted.')
    .action(async (files: readonly string[], options: VerifyOptions) => {
      const result = await verify(files, options, io)
      io.out(options.json ? asJson(result) : asText(result))
      if (result.faults.length > 0) finish(EXIT.findings)
    })

  addCheckpoint(audit, io, finish)
  addSchema(audit, io)
}

function addCheckpoint(audit: Command, io: Io, finish: Finish): void {
  audit
    .command('checkpoint <file...>')
    .description(
      'Lets the oldest rotated files be deleted by hand: checks them, and moves the beginning of the chain behind them.',
    )
    .option(...KEY_FILE)
    .option(...KEY_ENV)
    .option('--wait-ms <ms>', 'how long to wait for a gateway that is writing', '10000')
    .addHelpText('after', '\nRun it as the user of the gateway, on its machine. Delete the files when it ended with 0.')
    .action(async (files: readonly string[], options: CheckpointOptions) => {
      const result = await checkpoint(files, options, io)
      io.out(asText(result))
      if (result.faults.length > 0) finish(EXIT.findings)
      else io.out('The chain begins behind these files now: they may be deleted\n')
    })
}

function addSchema(audit: Command, io: Io): void {
  audit
    .command('schema')
    .description('Prints the JSON Schema of an audit record.')
    .action(async () => {
      const { auditRecordSchema } = await import('../../../policies/audit/schema.ts')
      io.out(asJson(auditRecordSchema))
    })
}

async function verify(paths: readonly string[], options: VerifyOptions, io: Io): Promise<Verification> {
  const key = await keyOf(options, io)
  const atLeast = options.atLeast === undefined ? undefined : pointOf(options.atLeast)
  // Before the files: a gateway that goes on writing only ever adds to them.
  const seal = await sealOf(paths, options, key)
  return verifyFiles(paths, { key, seal, ...(atLeast === undefined ? {} : { atLeast }) })
}

async function verifyFiles(paths: readonly string[], options: ChainOptions): Promise<Verification> {
  const { createReadStream } = await import('node:fs')
  const { verifyChain } = await import('../../../policies/audit/verify.ts')
  const files = paths.map((path) => ({
    name: path,
    chunks: () => createReadStream(path, { highWaterMark: 1_048_576 }),
  }))
  try {
    return await verifyChain(files, options)
  } catch (error) {
    const { path, code } = error as { readonly path?: unknown; readonly code?: unknown }
    if (typeof code !== 'string') throw error
    throw new PortcullisError(
      'unreadable_file',
      `${typeof path === 'string' ? path : 'a file'}: cannot be read (${code})`,
    )
  }
}

async function checkpoint(paths: readonly string[], options: CheckpointOptions, io: Io): Promise<Verification> {
  const { moveStart, sealOfFile } = await import('../../../policies/audit/checkpoint.ts')
  const { systemFiles } = await import('../../outputs.ts')
  const { START } = await import('../../../policies/audit/chain.ts')
  const key = await keyOf(options, io)
  const waitMs = Number(options.waitMs)
  if (!/^\d{1,9}$/.test(options.waitMs)) throw new PortcullisError('invalid_argument', '--wait-ms is a whole number')
  const path = await fileOf(paths)
  const { start } = await sealOfFile(path, key, systemFiles)
  await refuseStranger(path)
  // Not as far as the end of the chain: only what is given shall be whole.
  const result = await verifyFiles(paths, { key, seal: { start, head: START } })
  if (result.faults.length > 0 || result.head === undefined) return result
  const until = Date.now() + waitMs
  while (!(await moveStart(path, result.head, key, systemFiles))) {
    if (Date.now() > until) throw new PortcullisError('file_busy', `${path}: another process writes it all the time`)
    await sleep(LOCKED_RETRY_MS)
  }
  return result
}

/** The one audit file that all of these were rotated from. */
async function fileOf(paths: readonly string[]): Promise<string> {
  const { unrotated } = await import('../../../policies/audit/sinks/file-rotation.ts')
  const [path = '', ...others] = new Set(paths.map(unrotated))
  if (others.length > 0) throw new PortcullisError('invalid_argument', 'give rotated files of one audit file')
  if (paths.includes(path)) throw new PortcullisError('invalid_argument', `${path}: is still written to, and cannot go`)
  return path
}

/** A seal that root wrote could not be read by the gateway, which then writes nothing at all. */
async function refuseStranger(path: string): Promise<void> {
  const { stat } = await import('node:fs/promises')
  const { sealPath } = await import('../../../policies/audit/chain.ts')
  const { uid } = await stat(sealPath(path))
  if (process.getuid?.() !== uid)
    throw new PortcullisError('wrong_user', `${path}: is of another user; run it with sudo -u #${uid}`)
}

async function keyOf({ keyFile, keyEnv }: KeyOptions, io: Io): Promise<string> {
  const key = keyFile === undefined ? io.env[keyEnv] : (await keyIn(keyFile)).replace(/\r?\n$/, '')
  if (key === undefined || key === '')
    throw new PortcullisError('no_key', `give the secret of the chain with --key-file or in ${keyEnv}`)
  return key
}

/** Who reads the key can write a chain that verifies; who changes it makes every file look forged. */
async function keyIn(path: string): Promise<string> {
  const { readPrivate } = await import('../keys/files.ts')
  try {
    return await readPrivate(path)
  } catch (error) {
    if (!(error instanceof PortcullisError) || error.code !== 'unreadable_file') throw error
    throw new PortcullisError(error.code, `the file of the key cannot be read: ${error.message}`)
  }
}

function pointOf(text: string): ChainPoint {
  const [, seq, mac] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? []
  if (seq === undefined || mac === undefined)
    throw new PortcullisError('invalid_argument', '--at-least is a number, a colon and 64 hex digits')
  return { seq: Number(seq), mac }
}

/** Of several seals that this key made the newest: a copy may lie beside files that were put away. */
async function sealOf(paths: readonly string[], { seal }: VerifyOptions, key: string): Promise<ChainSeal | undefined> {
  const { readSeal, sealPath } = await import('../../../policies/audit/chain.ts')
  const { unrotated } = await import('../../../policies/audit/sinks/file-rotation.ts')
  const places = seal === undefined ? new Set(paths.map((path) => sealPath(unrotated(path)))) : [seal]
  const found: ChainSeal[] = []
  for (const place of places) {
    const text = await textOf(place)
    const read = text === undefined ? undefined : readSeal(text, key)
    if (read !== undefined) found.push(read)
  }
  return found.sort((a, b) => a.head.seq - b.head.seq).at(-1)
}

/** Undefined when there is no such file. */
async function textOf(path: string): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises')
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (code === undefined) throw error
    throw new PortcullisError('unreadable_file', `${path}: cannot be read (${code})`)
  }
}

function asText({ faults, records, head }: Verification): string {
  const found = faults.map((fault) => `${placeOf(fault)}: ${fault.kind}: ${fault.message}\n`)
  const count = `${records} ${records === 1 ? 'record' : 'records'}`
  const end = head === undefined ? '' : `, head ${head.seq}:${head.mac}`
  const verdict = faults.length === 0 ? 'whole' : `${faults.length} ${faults.length === 1 ? 'fault' : 'faults'}`
  return `${found.join('')}${count}, ${verdict}${end}\n`
}

function placeOf({ file, line, offset }: ChainFault): string {
  return line === undefined ? file : `${file}: line ${line} (byte ${offset})`
}
