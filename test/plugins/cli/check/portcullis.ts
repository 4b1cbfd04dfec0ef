/** Runs `portcullis` as the command line does, and keeps what it prints. */

import { EXIT } from '../../../../plugins/cli/io.ts'
import { run } from '../../../../plugins/cli/program.ts'

export const ROOT = new URL('../../../../', import.meta.url).pathname
export const FIXTURES = `${ROOT}test/fixtures/kong-config`

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export async function portcullis(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  input?: string,
): Promise<Ran> {
  const out: string[] = []
  const err: string[] = []
  const code = await run(args, {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    ...(input === undefined ? {} : { readInput: async () => input }),
    env,
  })
  return { code, out: out.join(''), err: err.join('') }
}

export interface ShownFinding {
  readonly rule: string
  readonly severity: string
  readonly file: string
  readonly line?: number
  readonly what: string
  readonly fix: string
  readonly acknowledged: boolean
}

export async function findings(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { code, out, err } = await portcullis(['check', '--json', ...args], env)
  if (code === EXIT.failed) throw new Error(err)
  return (JSON.parse(out) as { readonly findings: readonly ShownFinding[] }).findings
}
