/** `portcullis keys rotate` */

import type { Command } from 'commander'
import { PortcullisError } from '../../../../policies/errors.ts'
import { EXIT } from '../../io.ts'
import { parseDuration } from '../../keys/duration.ts'
import {
  addBackendOptions,
  addOutputOptions,
  type BackendOptions,
  type OutputOptions,
  openOutput,
} from '../../keys/open.ts'
import type { KeyBackend, StagedSecret } from '../../keys/ports.ts'
import { createProgress } from '../../keys/progress.ts'
import { findEnded } from '../../keys/pruning.ts'
import { nameData } from '../../keys/report.ts'
import { planRotation, runRotation, type Step } from '../../keys/rotation.ts'
import { asJsonLine, counted, printableLines } from '../../print.ts'
import { type JsonOption, type Place, withBackend } from './place.ts'

interface RotateOptions extends BackendOptions, OutputOptions, JsonOption {
  readonly olderThan?: string
  readonly grace: string
  readonly unknownAge?: true
  readonly prune: boolean
  readonly dryRun?: true
}

export function addRotate(keys: Command, place: Place): void {
  const command = keys
    .command('rotate [ids...]')
    .description(
      'Gives keys a new secret and the old one an end. May be repeated, and killed and repeated: what an earlier run began is finished first.',
    )
    .option('--older-than <duration>', 'only keys whose secret is older, such as 60d; needed without ids')
    .option('--grace <duration>', 'how long old and new secret are both valid', '7d')
    .option('--unknown-age', 'also keys of which nobody knows the age')
    .option('--no-prune', 'leave secrets there whose grace time is over')
    .option('--env <name>', 'part of the keys, where they were not made by this pack', 'live')
    .option('--dry-run', 'only say what would be done')
    .option('--json', 'print one JSON object a line: each new secret, unless it goes elsewhere, then a summary')
  addOutputOptions(addBackendOptions(command)).action(async (ids: readonly string[], options: RotateOptions) => {
    const { finish } = place
    if (options.olderThan === undefined && ids.length === 0)
      throw new PortcullisError('invalid_argument', 'name ids, or give --older-than')
    // An id alone means that key, whatever its age.
    const olderThanMs = options.olderThan === undefined ? 0 : parseDuration(options.olderThan, '--older-than')
    const graceMs = parseDuration(options.grace, '--grace')
    await withBackend(options, place, async (backend, { clock }) => {
      const now = clock.now()
      const all = await backend.list()
      const steps = planRotation(all, {
        now,
        issuedBefore: options.olderThan === undefined ? Number.POSITIVE_INFINITY : now - olderThanMs,
        unknownAge: options.unknownAge === true || ids.length > 0,
        ...(ids.length === 0 ? {} : { ids }),
      })
      const ended = options.prune ? findEnded(all, now) : []
      let rotated: readonly StagedSecret[] = []
      if (options.dryRun !== true) {
        rotated = await rotate(backend, steps, now + graceMs, options, place)
        await backend.prune(ended)
      }
      report({ steps, rotated, ended: ended.length, retireAt: now + graceMs, backend, options, place })
      if (steps.some(({ type }) => type === 'skip')) finish(EXIT.findings)
    })
  })
}

async function rotate(
  backend: KeyBackend,
  steps: readonly Step[],
  retireAt: number,
  options: RotateOptions,
  { io }: Place,
): Promise<readonly StagedSecret[]> {
  if (steps.every(({ type }) => type === 'skip')) return []
  const output = await openOutput(options, io, 'json')
  const progress = createProgress(io, 'Rotated', output.isStdout)
  try {
    const rotated = await runRotation({ backend, output, steps, retireAt, progress: progress.show })
    progress.end()
    return rotated
  } catch (error) {
    progress.end()
    io.err('The rotation was cut short. Run it again: what has begun is finished, and nothing is rotated twice.\n')
    throw error
  } finally {
    await output.close()
  }
}

interface Done {
  readonly steps: readonly Step[]
  readonly rotated: readonly StagedSecret[]
  readonly ended: number
  readonly retireAt: number
  readonly backend: KeyBackend
  readonly options: RotateOptions
  readonly place: Place
}

function report({ steps, rotated, ended, retireAt, backend, options, place: { io } }: Done): void {
  const due = steps.filter(({ type }) => type !== 'skip')
  const skipped = steps.flatMap((step) => (step.type === 'skip' ? [{ ...nameData(step.key), why: step.why }] : []))
  const until = new Date(retireAt).toISOString()
  if (options.json)
    io.out(
      asJsonLine({
        dry_run: options.dryRun === true,
        ...(options.dryRun
          ? { would_rotate: due.map(({ type, key }) => ({ ...nameData(key), resume: type === 'resume' })) }
          : {}),
        rotated: rotated.map(nameData),
        skipped,
        pruned: options.dryRun ? 0 : ended,
        old_valid_until: until,
      }),
    )
  for (const { id, consumer, why } of skipped)
    io.err(printableLines(`Skipped ${id ?? 'a key without id'} of ${consumer}: ${why}.\n`))
  if (options.dryRun) {
    for (const { type, key } of due)
      io.err(
        printableLines(
          `Would ${type === 'resume' ? 'finish' : 'rotate'} ${key.id ?? 'a key without id'} of ${key.owner}.\n`,
        ),
      )
    io.err(`Would rotate ${counted(due.length, 'key')} and remove ${ended} whose grace time is over.\n`)
    return
  }
  io.err(`Rotated ${counted(rotated.length, 'key')}; removed ${ended} whose grace time was over.\n`)
  if (rotated.length > 0) io.err(`The old secrets are valid until ${until}.\n`)
  if (backend.afterwards !== undefined && rotated.length + ended > 0) io.err(`Now ${backend.afterwards}.\n`)
}
