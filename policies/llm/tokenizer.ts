/** Exact token counts by gpt-tokenizer, an optional package that is loaded when configured. */

import { setImmediate } from 'node:timers/promises'
import { PortcullisError } from '../errors.ts'

export type EncodingName = 'o200k_base' | 'cl100k_base'

export interface Tokenizer {
  /** Exact but for a token at each cut of a long text. Lets other work run in between. */
  count(texts: readonly string[]): Promise<number>
}

interface EncodingModule {
  encode(text: string, options: { readonly disallowedSpecial: Set<string> }): readonly number[]
}

/** The tokenizer is quadratic on hostile text. */
const PIECE = 1000
/** How far back from the end of a piece a space is looked for: cutting before one loses no token. */
const CUT_RANGE = 200
/** Pieces counted before other work may run; a piece of hostile text takes a few milliseconds. */
const PIECES_AT_ONCE = 4
/** `<|endoftext|>` in a prompt is text, and no error. */
const TEXT_ONLY = { disallowedSpecial: new Set<string>() }

const loaders: Readonly<Record<EncodingName, () => Promise<EncodingModule>>> = {
  o200k_base: () => import('gpt-tokenizer/encoding/o200k_base'),
  cl100k_base: () => import('gpt-tokenizer/encoding/cl100k_base'),
}

/** Encoding of an OpenAI model; of others the nearest known, to be corrected by what settling observes. */
export function encodingOf(model: string): EncodingName {
  return /^(gpt-4(?!o|\.\d)|gpt-3\.5|text-embedding-)/.test(model) ? 'cl100k_base' : 'o200k_base'
}

/**
 * @throws {PortcullisError} `tokenizer_missing` when gpt-tokenizer is not installed.
 */
export async function loadTokenizer(
  encoding: EncodingName,
  load: () => Promise<EncodingModule> = loaders[encoding],
): Promise<Tokenizer> {
  const { encode } = await load().catch((cause: unknown) => {
    const message = 'Exact token counts need the package gpt-tokenizer: npm install gpt-tokenizer'
    throw new PortcullisError('tokenizer_missing', message, { cause })
  })
  return {
    async count(texts) {
      let tokens = 0
      let pieces = 0
      for (const text of texts) {
        for (let start = 0; start < text.length; ) {
          const end = cutAfter(text, start)
          tokens += encode(text.slice(start, end), TEXT_ONLY).length
          start = end
          if (++pieces % PIECES_AT_ONCE === 0) await setImmediate()
        }
      }
      return tokens
    },
  }
}

/** Where the piece that starts at `start` ends: before a space if there is one near, never inside a character. */
function cutAfter(text: string, start: number): number {
  const limit = start + PIECE
  if (limit >= text.length) return text.length
  const space = text.lastIndexOf(' ', limit)
  if (space > limit - CUT_RANGE) return space
  return isLowSurrogate(text.charCodeAt(limit)) ? limit - 1 : limit
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff
}
