/** `portcullis tokens issue` */

import { type Command, Option } from 'commander'
import { PortcullisError } from '../../../../policies/errors.ts'
import { parseDuration } from '../../keys/duration.ts'
import { asJsonLine, printableLines } from '../../print.ts'
import { collect, type JsonOption, type Place } from '../keys/place.ts'

interface IssueOptions extends JsonOption {
  readonly key: string
  readonly issuer: string
  readonly audience: readonly string[]
  readonly subject: string
  readonly scope: readonly string[]
  readonly ttl: string
  readonly maxTtl: string
  readonly clientId?: string
  readonly out?: string
}

/** What llm-scope reads at most. */
const MAX_TOKEN = 16_384
const MAX_NAME = 1_024

export function addIssue(tokens: Command, { io, load }: Place): void {
  tokens
    .command('issue')
    .description('Signs a short-lived token with scopes, and prints it once.')
    .addOption(
      new Option('--key <file>', 'private key of `tokens key new`, or PKCS #8 as PEM')
        .env('PORTCULLIS_SIGNING_KEY_FILE')
        .makeOptionMandatory(),
    )
    .addOption(
      new Option('--issuer <name>', 'claim iss, as `jwt.issuers` in the config of llm-scope names it')
        .env('PORTCULLIS_ISSUER')
        .makeOptionMandatory(),
    )
    .requiredOption('--audience <name>', 'claim aud; may be given several times', collect, [])
    .requiredOption('--subject <name>', 'claim sub: whom it is for')
    .requiredOption('--scope <grant>', 'what it may do: llm:chat:gpt-4o-*; may be given several times', collect, [])
    .option('--ttl <duration>', 'how long it is valid', '1h')
    .option('--max-ttl <duration>', 'refuse a longer --ttl than this', '24h')
    .option('--client-id <name>', 'claim client_id; by default the subject')
    .option('--out <file>', 'write it to a new file of mode 0600 instead of standard output')
    .option('--json', 'print JSON')
    .action(async (options: IssueOptions) => {
      const { clock, random } = await load()
      const claims = await readClaims(options, Math.floor(clock.now() / 1_000), random.id())
      const { readSigningKey } = await import('./signing-key.ts')
      const { SignJWT } = await import('jose')
      const { alg, kid, privateKey } = await readSigningKey(options.key)
      const token = await new SignJWT({ ...claims }).setProtectedHeader({ alg, kid, typ: 'at+jwt' }).sign(privateKey)
      if (token.length > MAX_TOKEN)
        throw new PortcullisError('invalid_argument', `the token would be longer than ${MAX_TOKEN} characters`)
      const { jti, sub, iss, aud, scope } = claims
      const expires = new Date(claims.exp * 1_000).toISOString()
      const facts = { jti, sub, iss, aud, scope, kid, alg, expires_at: expires }
      const text = options.json ? asJsonLine({ ...facts, token }) : `${token}\n`
      if (options.out !== undefined) {
        const { writeNew } = await import('../../keys/files.ts')
        await writeNew(options.out, `${token}\n`)
        if (options.json) io.out(asJsonLine(facts))
      } else if (io.deliver === undefined) io.out(text)
      else await io.deliver(text)
      io.err(printableLines(`Issued the token ${jti} for ${sub}, valid until ${expires}.\n`))
    })
}

async function readClaims(options: IssueOptions, now: number, jti: string) {
  const { issuer, audience, subject, scope, clientId = subject } = options
  const { parseGrant } = await import('../../../../policies/scope/grants.ts')
  const refuse = (why: string) => new PortcullisError('invalid_argument', why)
  const names = { issuer: [issuer], audience, subject: [subject], 'client-id': [clientId] }
  for (const [option, values] of Object.entries(names))
    if (values.length === 0 || values.some((value) => value === '' || value.length > MAX_NAME || /\p{Cc}/u.test(value)))
      throw refuse(`--${option}: must be a text of at most ${MAX_NAME} characters`)
  // One option may hold several, as the claim does.
  const scopes = scope.flatMap((each) => each.split(/[\s]+/)).filter((each) => each !== '')
  if (scopes.length === 0) throw refuse('--scope: name at least one')
  const wrong = scopes.findIndex((each) => parseGrant(each) === undefined)
  if (wrong !== -1)
    throw refuse(`--scope: number ${wrong + 1} is no grant; such as llm:chat, llm:embeddings:read or llm:chat:gpt-4o-*`)
  const ttl = parseDuration(options.ttl, '--ttl')
  if (ttl < 1_000) throw refuse('--ttl: must be at least 1s')
  if (ttl > parseDuration(options.maxTtl, '--max-ttl'))
    throw refuse(`--ttl: longer than --max-ttl, which is ${options.maxTtl}; a token that lives long leaks long`)
  const [only] = audience
  return {
    iss: issuer,
    sub: subject,
    aud: audience.length === 1 && only !== undefined ? only : [...audience],
    client_id: clientId,
    scope: [...new Set(scopes)].join(' '),
    jti,
    iat: now,
    exp: now + Math.floor(ttl / 1_000),
  }
}
