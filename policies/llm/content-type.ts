/** What a request says its body is. */

import { RefusedRead } from '../errors.ts'
import { invalid } from './json.ts'

/**
 * Refuses a body that an upstream could read as anything but JSON in UTF-8.
 * @param header the `content-type`
 * @throws {RefusedRead} `invalid_request` or `unsupported_encoding`.
 */
export function assertJsonType(header: string | undefined): void {
  const [essence = '', ...parameters] = (header ?? '')
    .toLowerCase()
    .split(';')
    .map((piece) => piece.trim())
  if (!/^application\/(?:[a-z0-9.+-]+\+)?json$/.test(essence))
    throw invalid('The content-type must be application/json.')
  for (const parameter of parameters) {
    if (parameter.startsWith('charset') && !/^charset="?(?:utf-?8|us-ascii)"?$/.test(parameter))
      throw new RefusedRead('unsupported_encoding', 'The charset of the request body must be UTF-8.')
  }
}

/**
 * Refuses a body that cannot be looked into.
 * @param header the `content-encoding`
 * @throws {RefusedRead} `unsupported_encoding`.
 */
export function assertUncompressed(header: string | undefined): void {
  const encoding = header?.trim().toLowerCase() ?? ''
  if (encoding !== '' && encoding !== 'identity')
    throw new RefusedRead('unsupported_encoding', 'A compressed request body cannot be judged; send it uncompressed.')
}
