/** `portcullis tokens key new` */

import { type Command, Option } from 'commander'
import { asJsonLine } from '../../print.ts'
import type { JsonOption, Place } from '../keys/place.ts'
import { makeSigningKey, SIGNING_ALGORITHMS, type SigningAlgorithm } from './signing-key.ts'

interface NewOptions extends JsonOption {
  readonly out: string
  readonly alg: SigningAlgorithm
}

export function addKey(tokens: Command, { io }: Place): void {
  tokens
    .command('key')
    .description('The private key that signs tokens.')
    .command('new')
    .description('Makes a private key in a new file of mode 0600.')
    .requiredOption('--out <file>', 'where to; a file that is there is not overwritten')
    .addOption(new Option('--alg <name>', 'signature algorithm').choices(SIGNING_ALGORITHMS).default('ES256'))
    .option('--json', 'print JSON')
    .action(async ({ out, alg, json }: NewOptions) => {
      const { writeNew } = await import('../../keys/files.ts')
      const { text, kid } = await makeSigningKey(alg)
      await writeNew(out, text)
      if (json) io.out(asJsonLine({ file: out, kid, alg }))
      io.err(`Made the ${alg} key ${kid} in ${out}. Publish its public half: portcullis tokens jwks ${out}\n`)
    })
}
