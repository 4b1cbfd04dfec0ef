/** System prompts and the earlier turns of a conversation come again with every request: each is searched twice at most. */

import { hash } from 'node:crypto'
import type { Finding } from './finding.ts'

/** Below this, searching costs little more than looking up. */
const SHORTEST = 512
const MOST_TEXTS = 4_096
const MOST_FINDINGS = 32
const MOST_SEEN = 16_384
/** Characters that tell texts apart at a glance. */
const SAMPLES = 16

type Find = (text: string) => readonly Finding[]

/**
 * The same search, which remembers what it found in texts that came before; of a text only its SHA-256 is kept. One that
 * comes for the first time costs no hash: whether it may have come before is told by its length and a few characters.
 * @param find must find the same in the same text every time
 */
export function rememberingTexts(find: Find): Find {
  const seen = new Set<number>()
  const known = new Map<string, readonly Finding[]>()
  return (text) => {
    if (text.length < SHORTEST || isNew(seen, text)) return find(text)
    // In UTF-8 all lone surrogates would be the same character.
    const digest = hash('sha256', Buffer.from(text, 'utf16le'), 'base64')
    const before = known.get(digest)
    if (before !== undefined) return before
    const findings = find(text)
    if (findings.length <= MOST_FINDINGS) {
      if (known.size >= MOST_TEXTS) known.clear()
      known.set(digest, findings)
    }
    return findings
  }
}

function isNew(seen: Set<number>, text: string): boolean {
  const step = (text.length - 1) / (SAMPLES - 1)
  let mark = text.length
  for (let sample = 0; sample < SAMPLES; sample++)
    mark = (Math.imul(mark, 31) + text.charCodeAt(Math.floor(sample * step))) | 0
  if (seen.has(mark)) return false
  if (seen.size >= MOST_SEEN) seen.clear()
  seen.add(mark)
  return true
}
