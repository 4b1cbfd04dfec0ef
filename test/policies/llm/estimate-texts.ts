/** Texts that the estimator was not fitted to: what the installed packages hold. The same for the same lock file. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const KINDS = ['english', 'german', 'chinese', 'code', 'json'] as const
export type TextKind = (typeof KINDS)[number]

const PACKAGES = new URL('../../../node_modules/', import.meta.url).pathname
const COUNT = 50
const SHORTEST = 300
const LONGEST = 4000

/** Fifty texts of 300 to 4,000 characters of each kind. */
export function unseenTexts(): Readonly<Record<TextKind, readonly string[]>> {
  const files = readdirSync(PACKAGES, { recursive: true, encoding: 'utf8' }).sort()
  const random = generator(20_240_517)
  const cut = (pattern: RegExp) =>
    cutFiles(
      shuffle(
        files.filter((file) => pattern.test(file)),
        random,
      ),
      random,
    )
  return {
    english: cut(/(^|\/)readme\.md$/i),
    german: messages('de', random),
    chinese: messages('zh-cn', random),
    code: cut(/^(?!@types).*(?<!\.min)\.(js|mjs|cjs|ts)$/),
    json: cut(/\.json$/),
  }
}

/** The translated messages of the TypeScript compiler, a few dozen a text. */
function messages(language: string, random: () => number): string[] {
  const file = join(PACKAGES, 'typescript', 'lib', language, 'diagnosticMessages.generated.json')
  const all = shuffle(Object.values(JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>), random)
  let next = 0
  return Array.from({ length: COUNT }, () => {
    const size = 4 + Math.floor(random() * 30)
    next += size
    return all.slice(next - size, next).join('\n')
  })
}

function cutFiles(files: readonly string[], random: () => number): string[] {
  const texts: string[] = []
  for (const file of files) {
    const text = readFileSync(join(PACKAGES, file), 'utf8')
    if (text.length < SHORTEST || text.includes('\ufffd')) continue
    const length = Math.floor(SHORTEST * (LONGEST / SHORTEST) ** random())
    const start = Math.floor(random() * Math.max(0, text.length - length))
    texts.push(text.slice(start, start + length))
    if (texts.length === COUNT) break
  }
  return texts
}

function shuffle<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, place: random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item)
}

/** The mulberry32 generator: the texts must not change from run to run. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
