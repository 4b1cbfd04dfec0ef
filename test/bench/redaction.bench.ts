/** Redaction of structured personal data and secrets, names off: throughput beside redact-pii, and hostile strings. */

import { performance } from 'node:perf_hooks'
import { SyncRedactor } from 'redact-pii'
import { createRedactor } from '../../policies/redaction/index.ts'
import { hostileShapes } from '../fixtures/redaction/hostile.ts'
import { sentences } from '../fixtures/redaction/prose.ts'
import { seeded } from '../fixtures/redaction/random.ts'
import { fill, TOKEN_SHAPES } from '../fixtures/redaction/secrets.ts'
import { type BenchRow, boundRow, sideBySide } from './harness.ts'

const SIZES = [
  { name: '10 KB', characters: 10_240, least: 40 },
  { name: '1 MB', characters: 1_048_576, least: 30 },
] as const
const HOSTILE_CHARACTERS = 100_000
const HOSTILE_MS = 100
const HOSTILE_RUNS = 3

export async function run(): Promise<readonly BenchRow[]> {
  const ours = createRedactor({ key: 'a key for the bench, of 32 bytes', now: 0 })
  const theirs = new SyncRedactor({
    builtInRedactors: { names: { enabled: false }, streetAddress: { enabled: false } },
  })
  const rows: BenchRow[] = []
  for (const { name, characters, least } of SIZES) {
    const text = conversation(characters)
    assertMasks(ours.redact(text).text, theirs.redact(text))
    const speed = await sideBySide(
      () => ours.redact(text),
      () => theirs.redact(text),
      { roundMs: characters > 100_000 ? 600 : 200 },
    )
    const megabytes = Buffer.byteLength(text) / 1e6
    rows.push({
      name: `redact a conversation of ${name}`,
      peer: 'redact-pii',
      ours: speed.ours * megabytes,
      theirs: speed.theirs * megabytes,
      unit: 'MB/s',
      ratio: speed.ratio,
      required: `>= ${least} MB/s`,
      pass: speed.ours * megabytes >= least,
    })
  }
  for (const [name, text] of hostileShapes(HOSTILE_CHARACTERS)) {
    rows.push(
      boundRow(
        `hostile, 100 KB of ${JSON.stringify(name)}`,
        fastest(() => ours.find(text)),
        'ms',
        HOSTILE_MS,
      ),
    )
  }
  return rows
}

/** Chat messages as JSON: ordinary sentences, every sixth with personal data in it, now and then a token. */
function conversation(characters: number): string {
  const r = seeded(5)
  const labelled = sentences('en', r, 40).map(({ text }) => text)
  const parts: string[] = []
  let length = 0
  for (let i = 0; length < characters; i++) {
    const said = i % 6 === 5 ? r.pick(labelled) : r.pick(ORDINARY)
    const part = i % 40 === 39 ? `${said} The token is ${fill(r.pick(TOKEN_SHAPES), r)}.` : said
    const message = JSON.stringify({ role: i % 2 === 0 ? 'user' : 'assistant', content: part })
    parts.push(message)
    length += message.length + 1
  }
  return `[${parts.join()}]`.slice(0, characters)
}

const ORDINARY = [
  'Could you summarise the attached meeting notes and list who has to do what until next Friday?',
  'The function returns undefined when the list is empty, so the caller must check for that before it reads the first element.',
  'Here is a short outline: an introduction, three sections with one example each, and a conclusion that repeats the main point.',
  'I tried version 4.2.1 and the build took 37 seconds, about 12 % longer than it did in 2023.',
  'In Rust, ownership moves when a value is assigned to another variable; borrow it with & if you need it again.',
  'const total = items.reduce((sum, item) => sum + item.price * item.quantity, 0)',
  'The museum is open from 10:00 to 18:00 except on Mondays, and the last entry is at 17:15.',
  'Please translate the following paragraph into French, keeping the tone friendly and the sentences short.',
] as const

function assertMasks(...texts: readonly string[]): void {
  for (const text of texts) {
    if (/4\d{3}[ -]\d{4}[ -]\d{4}[ -]\d{4}|@mail\.example\.org/.test(text))
      throw new Error('a side left personal data readable')
  }
}

/** Milliseconds of the fastest of a few runs: what the machine does besides is not our cost. */
function fastest(work: () => unknown): number {
  let best = Number.POSITIVE_INFINITY
  for (let i = 0; i < HOSTILE_RUNS; i++) {
    const start = performance.now()
    work()
    best = Math.min(best, performance.now() - start)
  }
  return best
}
