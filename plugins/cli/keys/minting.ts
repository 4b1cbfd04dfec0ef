/** Makes the text of keys. */

import { generateKey, newKeyId } from '../../../policies/api-key/index.ts'
import { ENV_PATTERN, ID_PATTERN } from '../../../policies/api-key/key-format.ts'
import { PortcullisError } from '../../../policies/errors.ts'
import type { Random } from '../../../policies/policy.ts'
import type { MintKey } from './ports.ts'

/** @throws {PortcullisError} `invalid_argument` for an environment that no key can name. */
export function createMint(env: string, random: Pick<Random, 'id'>): MintKey {
  if (!new RegExp(ENV_PATTERN).test(env))
    throw new PortcullisError('invalid_argument', '--env: 1 to 16 lower-case letters and digits, such as live')
  const fits = new RegExp(ID_PATTERN)
  return (given) => {
    // A stable id that somebody made up stays what it is; the key then cannot name it.
    const inKey = given !== undefined && fits.test(given) ? given : newKeyId(random)
    return { id: given ?? inKey, text: generateKey(env, inKey, random) }
  }
}
