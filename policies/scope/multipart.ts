/**
 * One text field out of multipart/form-data (RFC 7578), read so strictly that no parser can read another one out of the
 * same bytes. Whatever lenient parsers disagree about is refused.
 */

import { assertModel } from '../llm/body-fields.ts'
import { invalid } from '../llm/json.ts'
import { UNKNOWN_MODEL } from './grants.ts'
import { redirects } from './redirects.ts'

const CRLF = '\r\n'
const HEADERS_END = Buffer.from('\r\n\r\n')
const MAX_PART_HEADERS = 8
const MAX_PARTS = 256
/** A field's name as SDKs write it: `image[]`, `timestamp_granularities[]`. */
const FIELD_NAME = /^[A-Za-z0-9_.-]+(?:\[[A-Za-z0-9_]*\])*$/

/**
 * The model named by the field `model`; {@link UNKNOWN_MODEL} where there is none, or where another field leaves it open.
 * @throws {RefusedRead} `invalid_request`.
 */
export function readFormModels(bytes: Uint8Array, contentType: string): string[] {
  const parts = splitParts(bytes, boundaryOf(contentType)).map(readPart)
  const models = parts.filter(({ name }) => isNamedModel(name))
  if (models.length > 1) throw invalid('The form has the field "model" more than once.')
  const unknown = parts.some(({ name }) => redirects(name)) ? [UNKNOWN_MODEL] : []
  const [model] = models
  if (model === undefined) return [UNKNOWN_MODEL]
  if (model.name !== 'model') throw invalid('The field "model" is spelled differently.')
  if (model.isFile) throw invalid('The field "model" must not be a file.')
  return [assertModel(decode(model.value), 'model'), ...unknown]
}

/** `model`, `Model`, `model[]`, `model[0]`, `model.id`: each is the model to some server. */
function isNamedModel(name: string): boolean {
  return /^models?(?:$|[[.])/i.test(name)
}

function boundaryOf(contentType: string): string {
  const match =
    /^multipart\/form-data\s*;\s*boundary=(?:"([^"\\]+)"|([^\s";,]+))\s*(?:;\s*charset="?utf-8"?\s*)?$/i.exec(
      contentType,
    )
  const boundary = match?.[1] ?? match?.[2] ?? ''
  if (!/^[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]$/.test(boundary))
    throw invalid('The content-type must be multipart/form-data with one plain boundary.')
  return boundary
}

/** Every occurrence of the boundary must be a delimiter that stands alone on its line. */
function splitParts(bytes: Uint8Array, boundary: string): Buffer[] {
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const mark = Buffer.from(`--${boundary}`)
  const parts: Buffer[] = []
  if (!body.subarray(0, mark.length).equals(mark)) throw invalid('The form does not begin with its boundary.')
  let at = 0
  while (true) {
    const after = at + mark.length
    if (body.toString('latin1', after, after + 2) === '--') {
      const rest = body.toString('latin1', after + 2, after + 5)
      if (rest !== '' && rest !== CRLF) throw invalid('The form goes on after its end.')
      return parts
    }
    if (body.toString('latin1', after, after + 2) !== CRLF) throw invalid('A boundary of the form is malformed.')
    const next = body.indexOf(mark, after)
    if (next === -1) throw invalid('The form has no end.')
    if (next < after + 4 || body.toString('latin1', next - 2, next) !== CRLF)
      throw invalid('A boundary of the form is malformed.')
    parts.push(body.subarray(after + 2, next - 2))
    if (parts.length > MAX_PARTS) throw invalid(`The form has more than ${MAX_PARTS} parts.`)
    at = next
  }
}

interface Part {
  readonly name: string
  readonly isFile: boolean
  readonly value: Buffer
}

function readPart(part: Buffer): Part {
  const end = part.indexOf(HEADERS_END)
  if (end === -1) throw invalid('A part of the form has no headers.')
  const lines = decode(part.subarray(0, end)).split(CRLF)
  if (lines.length > MAX_PART_HEADERS) throw invalid('A part of the form has too many headers.')
  const headers = new Map<string, string>()
  for (const line of lines) {
    const [, name, value] = /^([A-Za-z-]+): *([^\r\n\0]*)$/.exec(line) ?? []
    if (name === undefined || value === undefined || headers.has(name.toLowerCase()))
      throw invalid('A part of the form has a malformed or repeated header.')
    headers.set(name.toLowerCase(), value)
  }
  const encoding = headers.get('content-transfer-encoding')?.trim().toLowerCase() ?? 'binary'
  if (!['7bit', '8bit', 'binary'].includes(encoding)) throw invalid('A part of the form is encoded.')
  const { name, isFile } = readDisposition(headers.get('content-disposition') ?? '')
  if (isNamedModel(name)) assertPlainText(headers.get('content-type'))
  return { name, isFile, value: part.subarray(end + HEADERS_END.length) }
}

/** `form-data; name="x"`, with at most one `filename` or `filename*`; every other spelling of a name is refused. */
function readDisposition(value: string): { readonly name: string; readonly isFile: boolean } {
  const match =
    /^form-data; *name="([^"\\%]*)"(?:; *filename="(?:[^"\\]|\\["\\])*")?(?:; *filename\*=[A-Za-z0-9-]+'[A-Za-z-]*'[A-Za-z0-9!#$&+.^_`|~%-]*)? *$/i.exec(
      value,
    )
  const name = match?.[1] ?? ''
  if (!FIELD_NAME.test(name)) throw invalid('A part of the form has no plain name.')
  return { name, isFile: /; *filename/i.test(value) }
}

function assertPlainText(type: string | undefined): void {
  if (type !== undefined && !/^text\/plain(?:; *charset="?(?:utf-8|us-ascii)"?)?$/i.test(type.trim()))
    throw invalid('The field "model" must be plain text in UTF-8.')
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw invalid('The form is not valid UTF-8 where it must be.')
  }
}
