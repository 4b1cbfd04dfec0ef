/** Redaction of text that arrives in pieces: what is found across their borders is masked, memory is bounded. */

import type { CallOptions, RedactOptions, Redactor } from './redactor.ts'
import { createRedactor, replace } from './redactor.ts'

export interface StreamRedactor {
  /** Takes the next piece, returns what can be told safe by now; often the empty string. */
  push(piece: string): string
  /** Returns the rest. */
  end(): string
}

/** What is held back: longer than any finding but key blocks and huge tokens. */
const HELD = 2_048
/** Text already given out that is still read as context. */
const CONTEXT = 160
/** A finding that is still open after this much is masked as far as it goes. */
const MOST = 49_152

/**
 * Starts the redaction of one stream.
 * @throws {PortcullisError} `invalid_options`.
 */
export function createStreamRedactor(options?: RedactOptions & CallOptions): StreamRedactor {
  return streamWith(createRedactor(options), options)
}

/** {@link createStreamRedactor} with a compiled redactor. */
export function streamWith(redactor: Redactor, call?: CallOptions): StreamRedactor {
  const tag = redactor.tagger(call)
  let context = ''
  let pending = ''
  let tried = 0
  /** The type of a finding longer than memory, whose rest is swallowed up to the next break. */
  let swallowed = false

  const give = (cut: number): string => {
    const text = context + pending
    const shift = context.length
    const findings = redactor
      .find(text)
      .filter(({ start, end }) => end > shift && start < shift + cut)
      .map(({ type, start, end }) => ({ type, start: Math.max(0, start - shift), end: Math.min(cut, end - shift) }))
    const given = replace(pending.slice(0, cut), findings, tag)
    context = text.slice(Math.max(0, shift + cut - CONTEXT), shift + cut)
    pending = pending.slice(cut)
    return given
  }

  const safeCut = (): number => {
    const text = context + pending
    const shift = context.length
    let cut = pending.length - HELD / 2
    const findings = redactor.find(text)
    const armour = text.lastIndexOf('-----BEGIN')
    if (armour >= shift && !findings.some((found) => found.start <= armour && found.end < text.length - 64)) {
      cut = Math.min(cut, armour - shift)
    }
    for (;;) {
      const open = findings.find(({ start, end }) => start < shift + cut && end > shift + cut - 1)
      if (open !== undefined) {
        cut = open.start - shift
        continue
      }
      let space = cut
      while (space > 0 && !/\s/.test(pending[space - 1] ?? '')) space--
      if (space === cut || space <= 0) break
      cut = space
    }
    return cut
  }

  return {
    push(piece) {
      pending += piece
      let given = ''
      if (swallowed) {
        const stop = pending.search(/-----END[^\n]{0,80}-----|[^A-Za-z0-9+/=_.\s\\-]/)
        if (stop < 0) {
          pending = pending.slice(-100)
          return given
        }
        const footer = /^-----END[^\n]{0,80}-----/.exec(pending.slice(stop))
        pending = pending.slice(stop + (footer?.[0].length ?? 0))
        swallowed = false
      }
      while (pending.length > HELD && pending.length - tried >= HELD / 2) {
        const cut = safeCut()
        if (cut > 0) {
          given += give(cut)
          tried = 0
          continue
        }
        tried = pending.length
        if (pending.length > MOST) {
          const text = context + pending
          swallowed = redactor.find(text).at(-1)?.end === text.trimEnd().length
          given += give(pending.length)
          tried = 0
        }
      }
      return given
    },
    end() {
      const given = swallowed ? '' : give(pending.length)
      context = ''
      pending = ''
      return given
    },
  }
}
