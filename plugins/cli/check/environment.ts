/** The KONG_* variables of a node, from an environment file or a compose file. */

import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { PortcullisError } from '../../../policies/errors.ts'
import { Places, readDocument } from './document.ts'
import { isRaw, type Place, rawList, strings, text } from './place.ts'

export interface Variable {
  readonly value: string
  readonly place: Place
}

export interface Environment {
  readonly file: string
  readonly variables: ReadonlyMap<string, Variable>
}

/** @throws {PortcullisError} `unreadable_file` when it cannot be read, or sets nothing for Kong. */
export async function readEnvironment(path: string): Promise<Environment> {
  const content = await readText(path)
  const variables = /\.ya?ml$|\.json$/i.test(path) ? await fromCompose(content, path) : fromLines(content, path)
  if (![...variables.keys()].some((name) => name.startsWith('KONG_')))
    throw new PortcullisError('unreadable_file', `${path}: sets no variable KONG_*`)
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

async function fromCompose(content: string, file: string): Promise<Map<string, Variable>> {
  const places = new Places()
  const root = readDocument(content, file, places)
  const services = isRaw(root) && isRaw(root.services) ? Object.values(root.services).filter(isRaw) : []
  for (const service of services) {
    const variables = new Map<string, Variable>()
    for (const path of filesOf(service.env_file)) {
      const at = join(dirname(file), path)
      for (const [name, variable] of fromLines(await readText(at), at)) variables.set(name, variable)
    }
    const { environment } = service
    if (isRaw(environment))
      for (const [name, value] of Object.entries(environment))
        variables.set(name, { value: String(value ?? ''), place: places.of(environment, name) ?? { file } })
    else if (Array.isArray(environment))
      for (const [index, line] of environment.entries())
        for (const [name, { value }] of fromLines(String(line), file))
          variables.set(name, { value, place: places.of(environment, index) ?? { file } })
    if ([...variables.keys()].some((name) => name.startsWith('KONG_'))) return variables
  }
  return new Map()
}

function filesOf(envFile: unknown): readonly string[] {
  if (typeof envFile === 'string') return [envFile]
  return [...strings(envFile), ...rawList(envFile).flatMap(({ path }) => text(path) ?? [])]
}

function unquoted(value: string): string {
  return /^(["']).*\1$/.test(value) ? value.slice(1, -1) : value
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const code = (error as { readonly code?: unknown }).code
    throw new PortcullisError('unreadable_file', `${path}: cannot be read (${String(code)})`)
  }
}
