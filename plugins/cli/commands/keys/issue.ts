/** `portcullis keys issue` */

import type { Command } from 'commander'
import { PortcullisError } from '../../../../policies/errors.ts'
import { parseDuration } from '../../keys/duration.ts'
import {
  addBackendOptions,
  addOutputOptions,
  type BackendOptions,
  type OutputOptions,
  openOutput,
} from '../../keys/open.ts'
import type { IssueRequest } from '../../keys/ports.ts'
import { asJsonLine, printableLines } from '../../print.ts'
import { collect, type JsonOption, type Place, withBackend } from './place.ts'

interface IssueOptions extends BackendOptions, OutputOptions, JsonOption {
  readonly consumer: string
  readonly tag: readonly string[]
  readonly cidr: readonly string[]
  readonly scope: readonly string[]
  readonly expiresIn?: string
}

export function addIssue(keys: Command, place: Place): void {
  const command = keys
    .command('issue')
    .description('Makes a new key for a consumer, and prints it once.')
    .requiredOption('--consumer <name>', 'whom it is for; a user name of Kong’s with --file and --kong-admin')
    .option('--env <name>', 'part of the key, such as live or test', 'live')
    .option('--tag <tag>', 'tag of the key; may be given several times', collect, [])
    .option('--scope <grant>', 'what it may do, as llm-scope reads it: llm:chat:gpt-4o-*', collect, [])
    .option('--cidr <range>', 'where it may be used from, as llm-api-key reads it: 10.0.0.0/8', collect, [])
    .option('--expires-in <duration>', 'how long it is valid; rotation keeps the same length')
    .option('--json', 'print JSON')
  addOutputOptions(addBackendOptions(command)).action(async (options: IssueOptions) => {
    const { io } = place
    const request = await readRequest(options)
    await withBackend(options, place, async (backend, { clock }) => {
      const output = await openOutput(options, io, options.json ? 'json' : 'key')
      try {
        const secret = await backend.issue(request)
        try {
          await output.deliver(secret)
          await output.flush()
          await backend.confirm([secret], clock.now())
        } catch (error) {
          io.err(
            `The key ${secret.id} was not confirmed; where \`keys list\` shows it, \`keys rotate ${secret.id}\` takes it up.\n`,
          )
          throw error
        }
        if (options.json && !output.isStdout)
          io.out(asJsonLine({ id: secret.id, consumer: secret.owner, delivered_to: output.name }))
        const where = output.isStdout ? '' : `, in ${output.name}`
        io.err(printableLines(`Issued the key ${secret.id} for ${secret.owner}${where}. It is shown only once.\n`))
        if (backend.afterwards !== undefined) io.err(`Now ${backend.afterwards}.\n`)
      } finally {
        await output.close()
      }
    })
  })
}

async function readRequest(options: IssueOptions): Promise<IssueRequest> {
  const { consumer, tag, cidr, scope, expiresIn, file, kongAdmin } = options
  const { parseGrant } = await import('../../../../policies/scope/grants.ts')
  const { parseRange } = await import('../../../../policies/api-key/address.ts')
  const { TAGS } = await import('../../../../policies/api-key/lifecycle.ts')
  const { isOurs, isTag } = await import('../../keys/tags.ts')
  const refuse = (why: string) => new PortcullisError('invalid_argument', why)
  if (consumer === '' || /\p{Cc}/u.test(consumer)) throw refuse('--consumer: is no name')
  if (scope.some((grant) => parseGrant(grant) === undefined))
    throw refuse('--scope: must be a grant, such as llm:chat or llm:chat:gpt-4o-*')
  if (cidr.some((range) => parseRange(range) === undefined)) throw refuse('--cidr: must be an address range')
  if (tag.some((each) => isOurs(each) || each.startsWith(TAGS.cidr)))
    throw refuse('--tag: tags that begin with pc- have a meaning; see --cidr and --expires-in')
  const lifetime = expiresIn === undefined ? {} : { lifetimeMs: parseDuration(expiresIn, '--expires-in') }
  const isKong = file !== undefined || kongAdmin !== undefined
  // Kong has no place for either but tags, and no slash in them.
  const tags = isKong ? [...tag, ...scope, ...cidr.map((range) => TAGS.cidr + range.replace('/', '_'))] : tag
  if (!tags.every(isTag)) throw refuse('a tag of Kong is printable and has no comma and no slash')
  return {
    owner: consumer,
    tags,
    ...lifetime,
    ...(isKong || cidr.length === 0 ? {} : { cidrs: cidr }),
    ...(isKong || scope.length === 0 ? {} : { scopes: scope }),
  }
}
