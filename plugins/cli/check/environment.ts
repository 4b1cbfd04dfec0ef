/** The KONG_* variables of a node, from an environment file, a compose file, Helm values, a kong.conf or a running node. */

import { existsSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { PortcullisError } from '../../../policies/errors.ts'
import { MAX_FILE_BYTES, Places, readDocument } from './document.ts'
import { isRaw, memberAt, type Place, type Raw, rawList, strings, text } from './place.ts'
import { readText } from './read-text.ts'

export interface Variable {
  readonly value: string
  readonly place: Place
}

export interface Environment {
  readonly file: string
  readonly variables: ReadonlyMap<string, Variable>
}

/** What is looked for beside a configuration, as Kong takes them: a variable wins over kong.conf. */
const BESIDE = ['kong.conf', 'kong.env']

/** Those in the folders of configurations that say something to Kong. @throws as {@link readEnvironments} does. */
export async function readEnvironmentsBeside(
  configurations: readonly string[],
): Promise<{ readonly environment?: Environment; readonly files: readonly string[] }> {
  const folders = new Set(configurations.map((path) => dirname(path)))
  const paths = [...folders].flatMap((folder) => BESIDE.map((name) => join(folder, name)))
  const read = await Promise.all(paths.filter((path) => existsSync(path)).map((path) => readEnvironment(path)))
  const saying = read.filter(setsSomething)
  const environment = together(saying)
  return { files: saying.map(({ file }) => file), ...(environment === undefined ? {} : { environment }) }
}

/**
 * Several together: what is named later wins.
 *
 * @throws {PortcullisError} `unreadable_file` when one cannot be read, or sets nothing for Kong.
 */
export async function readEnvironments(paths: readonly string[]): Promise<Environment | undefined> {
  const read = await Promise.all(paths.map((path) => readEnvironment(path)))
  for (const environment of read)
    if (!setsSomething(environment))
      throw new PortcullisError('unreadable_file', `${environment.file}: sets no variable KONG_*`)
  return together(read)
}

function together(read: readonly Environment[]): Environment | undefined {
  const [first] = read
  if (first === undefined) return undefined
  return { file: first.file, variables: new Map(read.flatMap(({ variables }) => [...variables])) }
}

function setsSomething({ variables }: Environment): boolean {
  return settingsIn(variables).length > 0
}

function settingsIn(variables: ReadonlyMap<string, Variable>): readonly string[] {
  return [...variables.keys()].filter((name) => name.startsWith('KONG_'))
}

/** The settings of a running Kong, named as its variables are; those that nobody set have its defaults. */
export function environmentOf(settings: Raw, file: string): Environment {
  const variables = new Map<string, Variable>()
  for (const [name, value] of Object.entries(settings)) {
    const shown = Array.isArray(value) ? strings(value).join(',') : value
    if (typeof shown === 'string' || typeof shown === 'number' || typeof shown === 'boolean')
      variables.set(variableOf(name), { value: String(shown), place: { file } })
  }
  return { file, variables }
}

async function readEnvironment(path: string): Promise<Environment> {
  const content = await readText(path, MAX_FILE_BYTES)
  const variables = /\.ya?ml$|\.json$/i.test(path)
    ? await fromYaml(content, path)
    : /\.conf$/i.test(path)
      ? fromKongConf(content, path)
      : fromLines(content, path)
  return { file: path, variables }
}

function fromLines(content: string, file: string): Map<string, Variable> {
  const variables = new Map<string, Variable>()
  for (const [index, line] of content.split(/\r?\n/).entries()) {
    const [, name, value] = /^\s*(?:export\s+)?(\w+)=(.*)$/.exec(line) ?? []
    if (name !== undefined && value !== undefined)
      variables.set(name, { value: unquoted(value.trim()), place: { file, line: index + 1 } })
  }
  return variables
}

/** As Kong reads it: `name = value`, and a comment behind a `#` that no backslash stands before. */
function fromKongConf(content: string, file: string): Map<string, Variable> {
  const variables = new Map<string, Variable>()
  for (const [index, line] of content.split(/\r?\n/).entries()) {
    const [, name, value] = /^\s*(\w+)\s*=\s*(.*)$/.exec(line) ?? []
    if (name === undefined || value === undefined) continue
    const uncommented = value.replace(/(?<!\\)#.*$/, '').replaceAll('\\#', '#')
    variables.set(variableOf(name), { value: uncommented.trim(), place: { file, line: index + 1 } })
  }
  return variables
}

function variableOf(setting: string): string {
  return `KONG_${setting.toUpperCase()}`
}

async function fromYaml(content: string, file: string): Promise<Map<string, Variable>> {
  const places = new Places()
  const root = readDocument(content, file, places)
  const values = [root, memberAt(root, 'gateway'), memberAt(root, 'kong')].map((chart) => memberAt(chart, 'env'))
  const env = values.find(isRaw)
  return env === undefined ? fromCompose(root, file, places) : fromValues(env, file, places)
}

/** Of the charts kong/kong and kong/ingress: settings in lower case. One that comes from elsewhere is not known. */
function fromValues(env: Raw, file: string, places: Places): Map<string, Variable> {
  const variables = new Map<string, Variable>()
  for (const [name, value] of Object.entries(env))
    if (!isRaw(value))
      variables.set(variableOf(name), { value: String(value ?? ''), place: places.of(env, name) ?? { file } })
  return variables
}

/** Of the service that says most to Kong: another one may only migrate the database. */
async function fromCompose(root: unknown, file: string, places: Places): Promise<Map<string, Variable>> {
  const services = isRaw(root) && isRaw(root.services) ? Object.values(root.services).filter(isRaw) : []
  let most = new Map<string, Variable>()
  for (const service of services) {
    const variables = await ofService(service, file, places)
    if (settingsIn(variables).length > settingsIn(most).length) most = variables
  }
  return most
}

async function ofService({ env_file, environment }: Raw, file: string, places: Places): Promise<Map<string, Variable>> {
  const variables = new Map<string, Variable>()
  for (const path of filesOf(env_file)) {
    const at = isAbsolute(path) ? path : join(dirname(file), path)
    for (const [name, variable] of fromLines(await readText(at, MAX_FILE_BYTES), at)) variables.set(name, variable)
  }
  if (isRaw(environment))
    for (const [name, value] of Object.entries(environment))
      variables.set(name, {
        value: interpolated(String(value ?? '')),
        place: places.of(environment, name) ?? { file },
      })
  else if (Array.isArray(environment))
    for (const [index, line] of environment.entries())
      for (const [name, { value }] of fromLines(String(line), file))
        variables.set(name, { value: interpolated(value), place: places.of(environment, index) ?? { file } })
  return variables
}

/** As Compose does it where the shell sets nothing: `${NAME:-default}`, and `$$` for `$`. Without a default it stays. */
function interpolated(value: string): string {
  return value.replace(/\$\$|\$\{\w+:?-([^{}]*)\}/g, (found, fallback?: string) =>
    found === '$$' ? '$' : (fallback ?? ''),
  )
}

function filesOf(envFile: unknown): readonly string[] {
  if (typeof envFile === 'string') return [envFile]
  return [...strings(envFile), ...rawList(envFile).flatMap(({ path }) => text(path) ?? [])]
}

function unquoted(value: string): string {
  return /^(["']).*\1$/.test(value) ? value.slice(1, -1) : value
}
