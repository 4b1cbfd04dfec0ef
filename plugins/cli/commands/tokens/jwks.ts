/** `portcullis tokens jwks` */

import type { Command } from 'commander'
import { PortcullisError } from '../../../../policies/errors.ts'
import { asJsonLine, counted } from '../../print.ts'
import type { Place } from '../keys/place.ts'

interface JwksOptions {
  readonly serve?: string
}

export function addJwks(tokens: Command, { io }: Place): void {
  tokens
    .command('jwks <files...>')
    .description(
      'Prints the public keys of key files as a JSON Web Key Set, for `jwks` in the config of llm-scope or any web server. Name the new and the old key while you change from one to the other.',
    )
    .option('--serve <address>', 'serve it at /.well-known/jwks.json, such as on 127.0.0.1:8800, until stopped')
    .action(async (files: readonly string[], { serve }: JwksOptions) => {
      const { readPublicKeys } = await import('./signing-key.ts')
      const keys = (await Promise.all(files.map(readPublicKeys))).flat()
      const kids = new Set(keys.map(({ kid }) => kid))
      if (kids.size < keys.length) throw new PortcullisError('unusable_key', 'two of the keys have the same kid')
      const text = asJsonLine({ keys })
      if (serve === undefined) {
        io.out(text)
        return
      }
      const { serveJwks } = await import('./jwks-server.ts')
      const server = await serveJwks(text, serve)
      io.err(`Serving ${counted(keys.length, 'key')} at ${server.url}\n`)
      await server.closed
    })
}
