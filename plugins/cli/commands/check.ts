/** `portcullis check`: what is unsafe in a Kong configuration. */

import { type Command, Option } from 'commander'
import { PortcullisError } from '../../../policies/errors.ts'
import type { AdminApi } from '../check/admin-api.ts'
import type { Places } from '../check/document.ts'
import type { KongConfig } from '../check/entities.ts'
import type { Environment } from '../check/environment.ts'
import { EXIT, type Finish, type Io } from '../io.ts'
import { printable } from '../print.ts'

interface CheckOptions {
  /** False: none, and none of those beside the configuration. */
  readonly env: readonly string[] | false
  readonly format: 'text' | 'json' | 'sarif'
  readonly json?: true
  readonly failOn: 'error' | 'warning' | 'note'
  readonly strict?: true
  readonly ignore: readonly string[]
  readonly allRoutes?: true
  readonly explain?: true
  readonly listRules?: true
}

const ADMIN_HEADER = 'PORTCULLIS_ADMIN_HEADER'
/** Enough for a large Kong; a pipeline's job must not wait for a slow one as long as it pleases. */
const ADMIN_DEADLINE_MS = 300_000

export function addCheck(program: Command, io: Io, finish: Finish): void {
  program
    .command('check')
    .description('Looks for what is unsafe in a Kong configuration: declarative files, or a running Admin API.')
    .argument(
      '[sources...]',
      'declarative files (format 3.0 or 2.1, YAML or JSON; several are taken together), or one URL of an Admin API',
    )
    .option(
      '--env <file>',
      'variables of the nodes: an environment file, a compose file, Helm values or a kong.conf; may be given again. Default: kong.conf and kong.env beside the configuration, or what the Admin API tells',
      collect,
      [],
    )
    .option('--no-env', 'judge without variables of the nodes')
    .addOption(new Option('--format <format>', 'how to print').choices(['text', 'json', 'sarif']).default('text'))
    .option('--json', 'the same as --format json')
    .addOption(
      new Option('--fail-on <severity>', 'least severity that ends with 1')
        .choices(['error', 'warning', 'note'])
        .default('warning'),
    )
    .option('--strict', 'end with 1 also when a rule could not be judged')
    .option('--ignore <rule>', 'leave a rule out; may be given again', collect, [])
    .option('--all-routes', 'judge every route, not only those that lead to a model')
    .option('--explain', 'say also why each finding matters')
    .option('--list-rules', 'print every rule, as Markdown')
    .addHelpText(
      'after',
      `\nA header for the Admin API, such as a token, is read from ${ADMIN_HEADER} as "Name: value".`,
    )
    .action(async (sources: readonly string[], options: CheckOptions) => finish(await check(sources, options, io)))
}

function collect(value: string, before: readonly string[] | false): readonly string[] {
  return [...(before || []), value]
}

async function check(sources: readonly string[], options: CheckOptions, io: Io) {
  const [
    { RULES },
    { Places },
    { createSite },
    { audit, isAtLeast },
    { gapsOf },
    report,
    { loadJudge },
    { createRedactor },
  ] = await Promise.all([
    import('../check/rules/index.ts'),
    import('../check/document.ts'),
    import('../check/site.ts'),
    import('../check/collect.ts'),
    import('../check/gaps.ts'),
    import('../check/report.ts'),
    import('../check/policies.ts'),
    import('../../../policies/redaction/index.ts'),
  ])
  if (options.listRules) {
    io.out(`${report.rulesTable(RULES)}\n`)
    return EXIT.ok
  }
  const unknown = options.ignore.filter((id) => !RULES.some((rule) => rule.id === id))
  if (unknown.length > 0) throw new PortcullisError('unknown_rule', `--ignore names no rule: ${unknown.join(', ')}`)
  if (sources.length === 0) throw new PortcullisError('no_source', 'name a declarative file or the URL of an Admin API')

  const places = new Places()
  const admin = adminOf(sources, io)
  const config = await (admin === undefined ? readFiles(sources, places) : readAdmin(admin, places))
  const { environment, beside, whyUnknown } = await findVariables(sources, admin, options.env)
  const redactor = createRedactor({ families: ['secret'] })
  const site = createSite(config, {
    now: Date.now(),
    allRoutes: options.allRoutes === true,
    isSecret: (value) => redactor.find(value).length > 0,
    judge: await loadJudge(),
    ...(environment === undefined ? {} : { environment }),
  })
  const rules = RULES.filter(({ id }) => !options.ignore.includes(id))
  // Names come from the configuration: one may be a secret, or move the cursor of a terminal.
  const shown = (value: string) => printable(redactor.redact(value).text)
  const findings = audit(site, rules, shown)
  const gaps = gapsOf(site, rules, whyUnknown)
  const outcome = { findings, gaps, beside }

  const format = options.json ? 'json' : options.format
  if (format === 'text') io.out(report.asText(outcome, options.explain === true))
  else {
    io.out(
      format === 'json' ? report.outcomeJson(outcome) : (await import('../check/sarif.ts')).asSarif(outcome, RULES),
    )
    // Machines read the one, and people the other.
    for (const line of report.gapLines(gaps)) io.err(`${line}\n`)
  }
  const failing = findings.some(({ rule, acknowledged }) => !acknowledged && isAtLeast(rule.severity, options.failOn))
  return failing || (options.strict && gaps.length > 0) ? EXIT.findings : EXIT.ok
}

/** Undefined where files are to be judged. */
function adminOf(sources: readonly string[], io: Io): AdminApi | undefined {
  const url = sources.find((source) => /^https?:\/\//i.test(source))
  if (url === undefined) return undefined
  if (sources.length > 1) throw new PortcullisError('mixed_sources', 'give either files or one Admin API')
  return { url, headers: adminHeaders(io.env[ADMIN_HEADER]), deadline: AbortSignal.timeout(ADMIN_DEADLINE_MS) }
}

async function readAdmin(admin: AdminApi, places: Places): Promise<KongConfig> {
  const { readAdminApi } = await import('../check/admin-api.ts')
  return readAdminApi(admin, places)
}

interface Variables {
  readonly environment?: Environment | undefined
  /** Files that nobody named. */
  readonly beside: readonly string[]
  readonly whyUnknown: string
}

async function findVariables(
  sources: readonly string[],
  admin: AdminApi | undefined,
  named: CheckOptions['env'],
): Promise<Variables> {
  const { readEnvironments, readEnvironmentsBeside } = await import('../check/environment.ts')
  const none = { beside: [], whyUnknown: 'no variables of Kong are known' }
  if (named === false) return none
  if (named.length > 0) return { ...none, environment: await readEnvironments(named) }
  if (admin !== undefined) {
    const { readSettings } = await import('../check/admin-api.ts')
    return { ...none, ...(await readSettings(admin)) }
  }
  const { files, environment } = await readEnvironmentsBeside(sources)
  return { ...none, beside: files, environment }
}

async function readFiles(sources: readonly string[], places: Places): Promise<KongConfig> {
  const [{ readDeclarative }, { MAX_FILE_BYTES, readDocument }, { readText }] = await Promise.all([
    import('../check/declarative.ts'),
    import('../check/document.ts'),
    import('../check/read-text.ts'),
  ])
  const files = await Promise.all(
    sources.map(async (path) => ({ path, root: readDocument(await readText(path, MAX_FILE_BYTES), path, places) })),
  )
  return readDeclarative(files, places)
}

function adminHeaders(header: string | undefined): Readonly<Record<string, string>> {
  if (header === undefined || header === '') return {}
  const [, name, value] = /^([\w-]+):\s*([^\r\n]+)$/.exec(header) ?? []
  if (name === undefined || value === undefined)
    throw new PortcullisError('bad_admin_header', `${ADMIN_HEADER} must read "Name: value"`)
  return { [name]: value }
}
