/**
 * Runs the benches: `npm run bench [-- NAME...] [--json FILE]`.
 *
 * A bench is a file `test/bench/NAME.bench.ts` that exports `run(): Promise<BenchRow[]>` (see `harness.ts`). A figure with a
 * peer is measured interleaved with it in one process and given as a ratio (`sideBySide`, `ratioRow`); a figure without
 * one states its bound (`boundRow`). Each bench runs in its own process with `--expose-gc`, so that none warms up or
 * fills the heap of another. The exit code is 1 when a required figure is missed or a bench fails.
 */

import { spawn } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import type { BenchModule, BenchRow } from './harness.ts'

const SUFFIX = '.bench.ts'
const HERE = import.meta.dirname

interface Result {
  readonly bench: string
  readonly rows: readonly BenchRow[]
  readonly error?: string
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'string' }, only: { type: 'string' } },
  })
  if (values.only !== undefined) return runOne(values.only)

  const known = readdirSync(HERE)
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => basename(file, SUFFIX))
    .sort()
  const wanted = positionals.length > 0 ? positionals : known
  const unknown = wanted.filter((name) => !known.includes(name))
  if (unknown.length > 0) {
    console.error(`no such bench: ${unknown.join(', ')}; there are: ${known.join(', ')}`)
    process.exitCode = 2
    return
  }

  const results: Result[] = []
  for (const name of wanted) {
    console.error(`running ${name}`)
    results.push(await inOwnProcess(name))
  }
  print(results)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`)
  if (results.some((result) => result.error !== undefined || result.rows.some((row) => !row.pass))) process.exitCode = 1
}

async function runOne(name: string): Promise<void> {
  const bench = (await import(pathToFileURL(join(HERE, name + SUFFIX)).href)) as BenchModule
  process.send?.(await bench.run())
  process.disconnect?.()
}

function inOwnProcess(name: string): Promise<Result> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--expose-gc', ...process.execArgv, import.meta.filename, '--only', name], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    })
    let rows: readonly BenchRow[] | undefined
    child.on('message', (message) => {
      rows = message as readonly BenchRow[]
    })
    child.on('error', (error) => resolve({ bench: name, rows: [], error: error.message }))
    child.on('close', (code, signal) => {
      if (rows !== undefined && rows.length > 0 && code === 0) resolve({ bench: name, rows })
      else resolve({ bench: name, rows: rows ?? [], error: `ended with ${signal ?? code}` })
    })
  })
}

function print(results: readonly Result[]): void {
  const head = ['', 'figure', 'ours', 'peer', 'theirs', 'ratio', 'required']
  const lines = results.flatMap(({ bench, rows, error }) => [
    ...rows.map((row) => [
      row.pass ? 'ok' : 'MISSED',
      `${bench}: ${row.name}`,
      withUnit(row.ours, row.unit),
      row.peer,
      row.theirs === undefined ? '-' : withUnit(row.theirs, row.unit),
      row.ratio === undefined ? '-' : `${row.ratio.toFixed(2)}x`,
      row.required,
    ]),
    ...(error === undefined ? [] : [['FAILED', bench, error, '', '', '', '']]),
  ])
  const widths = head.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => (line[column] ?? '').length)),
  )
  for (const line of [head, ...lines])
    console.log(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
}

function withUnit(value: number, unit: string): string {
  const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 10 ? 1 : 3
  return `${value.toLocaleString('en-US', { maximumFractionDigits: digits })} ${unit}`
}

await main()
