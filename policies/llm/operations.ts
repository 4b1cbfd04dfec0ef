/** Which operation of which API a request is, by exact match of the path that the upstream sees. */

import { assertPlainPath, type PathEntry, type PathTable, pathTable } from './paths.ts'
import type { Operation, OperationName } from './protocol.ts'
import { ANTHROPIC_BASES } from './protocols/anthropic-messages.ts'
import { PROTOCOLS, requireProtocol } from './protocols/index.ts'
import { OPENAI_BASES } from './protocols/openai.ts'

/** A route that the operator adds, for an API that hangs elsewhere. Wins over the built-in ones. */
export interface ExtraOperation {
  /** Default POST. */
  readonly method?: string
  /** Exact, or with `{name}` for a segment; `{model}` names the model. */
  readonly path: string
  readonly operation: OperationName
  /** Id of the protocol that meters it; absent when nobody can. */
  readonly protocol?: string
  /** Without side effects; default false, true for GET. */
  readonly read?: boolean
}

/** Operations that nobody meters, as `METHOD tail name`; GET is a read. */
const OPENAI_UNMETERED = [
  'POST /images/generations images',
  'POST /images/edits images',
  'POST /images/variations images',
  'POST /audio/speech audio',
  'POST /audio/transcriptions audio',
  'POST /audio/translations audio',
  'POST /moderations moderations',
  'GET /files files',
  'POST /files files',
  'GET /files/{id} files',
  'DELETE /files/{id} files',
  'GET /files/{id}/content files',
  'POST /uploads files',
  'POST /uploads/{id}/parts files',
  'POST /uploads/{id}/complete files',
  'POST /uploads/{id}/cancel files',
  'GET /batches batches',
  'POST /batches batches',
  'GET /batches/{id} batches',
  'POST /batches/{id}/cancel batches',
  'GET /fine_tuning/jobs fine_tuning',
  'POST /fine_tuning/jobs fine_tuning',
  'GET /fine_tuning/jobs/{id} fine_tuning',
  'POST /fine_tuning/jobs/{id}/cancel fine_tuning',
  'POST /fine_tuning/jobs/{id}/pause fine_tuning',
  'POST /fine_tuning/jobs/{id}/resume fine_tuning',
  'GET /fine_tuning/jobs/{id}/events fine_tuning',
  'GET /fine_tuning/jobs/{id}/checkpoints fine_tuning',
  'GET /models models',
  'GET /models/{id} models',
  'GET /models/{owner}/{id} models',
  'DELETE /models/{id} models',
]

const AZURE_UNMETERED = [
  'POST /images/generations images',
  'POST /images/edits images',
  'POST /audio/speech audio',
  'POST /audio/transcriptions audio',
  'POST /audio/translations audio',
]

const ANTHROPIC_UNMETERED = [
  'GET /messages/batches batches',
  'POST /messages/batches batches',
  'GET /messages/batches/{id} batches',
  'DELETE /messages/batches/{id} batches',
  'POST /messages/batches/{id}/cancel batches',
  'GET /messages/batches/{id}/results batches',
]

const GEMINI_UNMETERED = [
  'GET /files files',
  'GET /files/{id} files',
  'DELETE /files/{id} files',
  'GET /models models',
  'GET /models/{id} models',
  'GET /batches batches',
  'GET /batches/{id} batches',
  'DELETE /batches/{id} batches',
]

const UNMETERED = pathTable([
  ...OPENAI_BASES.flatMap((base) => entries(base, OPENAI_UNMETERED)),
  ...entries('/openai/deployments/{model}', AZURE_UNMETERED),
  ...ANTHROPIC_BASES.flatMap((base) => entries(base, ANTHROPIC_UNMETERED)),
  ...['/v1beta', '/v1alpha'].flatMap((base) => entries(base, GEMINI_UNMETERED)),
  ...entries('/upload/v1beta', ['POST /files files']),
  // Counting tokens has no effect and costs nothing.
  ...OPENAI_BASES.map(
    (base): PathEntry<Operation> => ({
      method: 'POST',
      path: `${base}/responses/input_tokens`,
      entry: { name: 'responses', read: true },
    }),
  ),
])

const tables = new WeakMap<readonly ExtraOperation[], PathTable<Operation>>()

/**
 * What a method and path ask for; undefined when no API here has such an operation. HEAD counts as GET.
 * @throws {RefusedRead} `invalid_request` for a path that two readers could understand differently.
 * @throws {PortcullisError} `unknown_protocol` when an extra operation names none that exists.
 */
export function recognise(method: string, path: string, extra: readonly ExtraOperation[] = []): Operation | undefined {
  assertPlainPath(path)
  const verb = method === 'HEAD' ? 'GET' : method
  const added = find(extraTable(extra), verb, path)
  if (added !== undefined) return added
  for (const protocol of PROTOCOLS) {
    const operation = protocol.recognise(verb, path)
    if (operation !== undefined) return operation
  }
  const unmetered = find(UNMETERED, verb, path)
  // A name may hold colons: `models/x:generateContent` must not pass for a model to be read.
  return unmetered !== undefined && PROTOCOLS.some((protocol) => protocol.recognise('POST', path))
    ? undefined
    : unmetered
}

function find(table: PathTable<Operation>, method: string, path: string): Operation | undefined {
  const found = table.find(method, path)
  if (found === undefined) return undefined
  const { model } = found.parts
  return model === undefined ? found.entry : { ...found.entry, model }
}

function extraTable(extra: readonly ExtraOperation[]): PathTable<Operation> {
  let table = tables.get(extra)
  if (table === undefined) {
    table = pathTable(extra.map(extraEntry))
    tables.set(extra, table)
  }
  return table
}

function extraEntry(extra: ExtraOperation): PathEntry<Operation> {
  const { method = 'POST', path, operation, protocol, read = method === 'GET' } = extra
  return {
    method,
    path,
    entry: { name: operation, read, ...(protocol === undefined ? {} : { protocol: requireProtocol(protocol) }) },
  }
}

function entries(base: string, lines: readonly string[]): PathEntry<Operation>[] {
  return lines.map((line) => {
    const [method, tail, name] = line.split(' ') as [string, string, OperationName]
    return { method, path: base + tail, entry: { name, read: method === 'GET' } }
  })
}
