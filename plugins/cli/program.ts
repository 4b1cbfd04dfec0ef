/** The `portcullis` command: its groups of subcommands, and how it ends. */

import { Command, CommanderError } from 'commander'
import { PortcullisError } from '../../policies/errors.ts'
import { RedisFailure } from '../../policies/stores/redis/failure.ts'
import { VERSION } from '../version.ts'
import { addAudit } from './commands/audit.ts'
import { addCheck } from './commands/check.ts'
import { addKeys } from './commands/keys/index.ts'
import { addLimits } from './commands/limits.ts'
import { addShadow } from './commands/shadow.ts'
import { addTokens } from './commands/tokens/index.ts'
import { EXIT, type ExitCode, type Finish, type Io } from './io.ts'
import { printableLines } from './print.ts'

/** Adds one group of subcommands. What a group needs to run is imported by its actions, so that `--help` stays quick. */
export type AddCommands = (program: Command, io: Io, finish: Finish) => void

const GROUPS: readonly AddCommands[] = [addAudit, addCheck, addKeys, addLimits, addShadow, addTokens]

/**
 * Runs one command line, without the program's own name.
 * @throws only what is a fault of this program.
 */
export async function run(args: readonly string[], io: Io, groups = GROUPS): Promise<ExitCode> {
  let code: ExitCode = EXIT.ok
  const program = new Command('portcullis')
    .description('Operates what Portcullis keeps for your LLM gateway.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err })
  for (const add of groups)
    add(program, io, (ended) => {
      code = ended
    })
  try {
    await program.parseAsync(args, { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.failed
    if (!(error instanceof PortcullisError) && !(error instanceof RedisFailure)) throw error
    // It may name what a file, a caller or a server brought along.
    io.err(`portcullis: ${printableLines(error.message)}\n`)
    return EXIT.failed
  }
}
