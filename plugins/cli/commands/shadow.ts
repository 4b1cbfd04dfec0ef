/** `portcullis shadow`: what enforcing would have done. */

import { InvalidArgumentError } from 'commander'
import { PortcullisError } from '../../../policies/errors.ts'
import { asJson } from '../print.ts'
import type { AddCommands } from '../program.ts'

interface ReportCommandOptions {
  readonly since?: number
  readonly until?: number
  readonly top: number
  readonly json?: true
}

export const addShadow: AddCommands = (program, io) => {
  const shadow = program.command('shadow').description('Tells what policies in shadow mode would have done.')

  shadow
    .command('report <file...>')
    .description('Who would have been refused and why, from audit records; `-` reads the standard input.')
    .option('--since <time>', 'only requests from then on, such as 2026-01-31 or 2026-01-31T12:00:00Z', readTime)
    .option('--until <time>', 'only requests before then', readTime)
    .option('--top <rows>', 'rows of each table', readRows, 20)
    .option('--json', 'print JSON, with every row')
    .addHelpText('after', '\nLines may carry more than the record, as those of Kong’s log do.')
    .action(async (files: readonly string[], options: ReportCommandOptions) => {
      const [{ createTally }, { linesOf, readRecord }, { reportData, reportText }] = await Promise.all([
        import('../shadow/tally.ts'),
        import('../shadow/read.ts'),
        import('../shadow/report.ts'),
      ])
      const tallying = createTally()
      let unreadable = 0
      let seen = 0
      for (const file of files)
        for await (const line of linesOf(await open(file))) {
          const record = readRecord(line)
          if (record === undefined) continue
          seen += 1
          if (record === 'unreadable') unreadable += 1
          else if (isWithin(record.time, options)) tallying.add(record)
        }
      if (seen === 0) throw new PortcullisError('no_records', 'there is no audit record in what was given')
      const shown = { top: options.top, unreadable }
      if (options.json) io.out(asJson(reportData(tallying.tally, shown)))
      else io.out(reportText(tallying.tally, shown))
    })
}

function isWithin(time: number, { since, until }: ReportCommandOptions): boolean {
  return (since === undefined || time >= since) && (until === undefined || time < until)
}

async function open(file: string): Promise<AsyncIterable<Uint8Array>> {
  if (file === '-') return process.stdin
  const { createReadStream } = await import('node:fs')
  const stream = createReadStream(file, { highWaterMark: 1_048_576 })
  await new Promise<void>((resolve, reject) => {
    stream.once('ready', resolve)
    stream.once('error', (error: NodeJS.ErrnoException) =>
      reject(new PortcullisError('unreadable_file', `${file}: cannot be read (${error.code ?? error.name})`)),
    )
  })
  return stream
}

function readTime(text: string): number {
  const time = /^\d{4}-\d{2}-\d{2}(T[\d:.]+Z)?$/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(time)) throw new InvalidArgumentError('must be a day or a time in UTC, such as 2026-01-31T12:00:00Z')
  return time
}

function readRows(text: string): number {
  const rows = Number(text)
  if (!Number.isInteger(rows) || rows < 1 || rows > 1_000_000)
    throw new InvalidArgumentError('must be a whole number from 1')
  return rows
}
