/** Estimating a 1 MB prompt: how long it blocks the event loop, and how far off it is on texts it was not fitted to. */

import { Buffer } from 'node:buffer'
import process from 'node:process'
import { estimateTokens } from '../../policies/llm/estimate.ts'
import { estimateErrors } from '../policies/llm/estimate-error.ts'
import { KINDS, unseenTexts } from '../policies/llm/estimate-texts.ts'
import { type BenchRow, boundRow, median } from './harness.ts'

const MEGABYTE = 1_000_000
const ROUNDS = 7
const CALLS = 25

export async function run(): Promise<BenchRow[]> {
  const texts = unseenTexts()
  const prompts: readonly (readonly [string, string])[] = [
    ['English', megabyte(texts.english.join('\n'))],
    ['Chinese', megabyte(texts.chinese.join('\n'))],
    ['code', megabyte(texts.code.join('\n'))],
    ['hostile: one letter', megabyte('q')],
    ['hostile: every class in turn', megabyte('aA1 \n.{жÉ…字カ한ابकก\u0301😀q')],
    ['hostile: random units', megabyte(scattered())],
  ]
  const rows: BenchRow[] = []
  for (const [name, prompt] of prompts) {
    const times = Array.from({ length: ROUNDS }, () => blockedMs(prompt, CALLS))
    rows.push(boundRow(`1 MB of ${name}`, median(times), 'ms', 5))
  }
  for (const kind of KINDS) {
    const { before, corrected } = await estimateErrors(texts[kind])
    rows.push(boundRow(`median error on 50 unseen texts, ${kind}`, before * 100, '%', 30))
    rows.push(boundRow(`the same after 5 settled calls, ${kind}`, corrected * 100, '%', 15))
  }
  return rows
}

/**
 * Milliseconds of CPU time of the main thread for one estimate, the mean over `calls`: that is how long it blocks where it
 * has a core to itself, while wall time on a busy machine would measure the machine. The clock ticks every 4 ms.
 */
function blockedMs(prompt: string, calls: number): number {
  // As a body parser hands it over: a fresh, flat string.
  const texts = Array.from({ length: calls }, () => JSON.parse(JSON.stringify(prompt)) as string)
  const start = process.threadCpuUsage()
  for (const text of texts) estimateTokens([text])
  const { user, system } = process.threadCpuUsage(start)
  return (user + system) / 1000 / calls
}

function megabyte(unit: string): string {
  const text = unit.repeat(Math.ceil(MEGABYTE / Buffer.byteLength(unit)))
  return Buffer.from(text).subarray(0, MEGABYTE).toString()
}

function scattered(): string {
  let state = 1
  return Array.from({ length: 50_000 }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return String.fromCharCode(state >>> 15)
  }).join('')
}
