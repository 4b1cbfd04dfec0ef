/** `portcullis audit`: whether audit files are what was written, and the shape of a record. */

import type { Command } from 'commander'
import type { ChainPoint, ChainSeal } from '../../../policies/audit/chain.ts'
import type { ChainFault, Verification } from '../../../policies/audit/verify.ts'
import { PortcullisError } from '../../../policies/errors.ts'
import { EXIT, type Io } from '../io.ts'
import type { AddCommands } from '../program.ts'

interface VerifyOptions {
  readonly keyFile?: string
  readonly keyEnv: string
  readonly seal?: string
  readonly atLeast?: string
  readonly json?: true
}

const KEY_ENV = 'PORTCULLIS_AUDIT_KEY'

export const addAudit: AddCommands = (program, io, finish) => {
  const audit = program.command('audit').description('Checks what the audit log wrote.')

  audit
    .command('verify <file...>')
    .description('Finds any edit, removal, reordering or truncation in chained audit files, given in any order.')
    .option(
      '--key-file <file>',
      'file that holds the secret of the chain, for its owner alone (mode 0600); a line break at its end does not count',
    )
    .option('--key-env <name>', 'environment variable that holds it', KEY_ENV)
    .option('--seal <file>', 'the seal, when it does not lie beside the audit file as FILE.chain')
    .option('--at-least <seq:mac>', 'a head that was noted elsewhere: the files must still reach it')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nGive every file of the chain: the current one and all rotated ones that were not deleted.')
    .action(async (files: readonly string[], options: VerifyOptions) => {
      const result = await verify(files, options, io)
      io.out(options.json ? `${JSON.stringify(result, null, 2)}\n` : asText(result))
      if (result.faults.length > 0) finish(EXIT.findings)
    })

  addSchema(audit, io)
}

function addSchema(audit: Command, io: Io): void {
  audit
    .command('schema')
    .description('Prints the JSON Schema of an audit record.')
    .action(async () => {
      const { auditRecordSchema } = await import('../../../policies/audit/schema.ts')
      io.out(`${JSON.stringify(auditRecordSchema, null, 2)}\n`)
    })
}

async function verify(paths: readonly string[], options: VerifyOptions, io: Io): Promise<Verification> {
  const { createReadStream } = await import('node:fs')
  const { verifyChain } = await import('../../../policies/audit/verify.ts')
  const key = await keyOf(options, io)
  const atLeast = options.atLeast === undefined ? undefined : pointOf(options.atLeast)
  // Before the files: a gateway that goes on writing only ever adds to them.
  const seal = await sealOf(paths, options, key)
  const files = paths.map((path) => ({
    name: path,
    chunks: () => createReadStream(path, { highWaterMark: 1_048_576 }),
  }))
  try {
    return await verifyChain(files, { key, seal, ...(atLeast === undefined ? {} : { atLeast }) })
  } catch (error) {
    const { path, code } = error as { readonly path?: unknown; readonly code?: unknown }
    if (typeof code !== 'string') throw error
    throw new PortcullisError(
      'unreadable_file',
      `${typeof path === 'string' ? path : 'a file'}: cannot be read (${code})`,
    )
  }
}

async function keyOf({ keyFile, keyEnv }: VerifyOptions, io: Io): Promise<string> {
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
