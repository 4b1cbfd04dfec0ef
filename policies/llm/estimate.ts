/**
 * Token counts without a tokenizer: every character has a cost by its class and by its place in a run of its kind.
 * The costs were fitted to o200k_base on prose in 40 languages, code, JSON, logs and random text;
 * `test/policies/llm/estimate.test.ts` says how far off they are on texts that they were not fitted to.
 */

import { Buffer } from 'node:buffer'
import { CLASS_BITS, CLASS_OF, CLASS_OF_REPEATED, FIRST_STATE, NEXT_STATE, STATE_COST } from './estimate-costs.ts'
import type { Delivered } from './usage.ts'

export { type EncodingName, encodingOf, loadTokenizer, type Tokenizer } from './tokenizer.ts'

/** Units copied out of a string at a time: reading them there is twice as fast as `charCodeAt`. */
const BLOCK = 4096
const bytes = Buffer.alloc(BLOCK * Uint16Array.BYTES_PER_ELEMENT)
const units = new Uint16Array(bytes.buffer, bytes.byteOffset, BLOCK)

/** From this length on four chains are quicker than one. */
const LONG = 256

/** Estimated tokens of all texts, in one pass over each: a megabyte takes some three milliseconds, whatever it holds. */
export function estimateTokens(texts: readonly string[]): number {
  let tokens = 0
  for (const text of texts) {
    for (let start = 0; start < text.length; start += BLOCK) {
      const block = text.length <= BLOCK ? text : text.slice(start, start + BLOCK)
      bytes.write(block, 'utf16le')
      tokens += block.length < LONG ? costOfUnits(0, block.length) : costOfQuarters(block.length)
    }
  }
  return Math.ceil(tokens)
}

function costOfUnits(from: number, to: number): number {
  let cost = 0
  let state = FIRST_STATE
  let last = -1
  for (let index = from; index < to; index++) {
    const unit = units[index] as number
    state = NEXT_STATE[(state << CLASS_BITS) | classOf(unit, last)] as number
    cost += STATE_COST[state] as number
    last = unit
  }
  return cost
}

/** A block as four texts side by side: each step waits for the one before it, and four chains wait together. */
function costOfQuarters(count: number): number {
  const quarter = count >> 2
  let cost = 0
  let [stateA, stateB, stateC, stateD] = [FIRST_STATE, FIRST_STATE, FIRST_STATE, FIRST_STATE]
  let [lastA, lastB, lastC, lastD] = [-1, -1, -1, -1]
  for (let index = 0; index < quarter; index++) {
    const unitA = units[index] as number
    const unitB = units[index + quarter] as number
    const unitC = units[index + 2 * quarter] as number
    const unitD = units[index + 3 * quarter] as number
    stateA = NEXT_STATE[(stateA << CLASS_BITS) | classOf(unitA, lastA)] as number
    stateB = NEXT_STATE[(stateB << CLASS_BITS) | classOf(unitB, lastB)] as number
    stateC = NEXT_STATE[(stateC << CLASS_BITS) | classOf(unitC, lastC)] as number
    stateD = NEXT_STATE[(stateD << CLASS_BITS) | classOf(unitD, lastD)] as number
    cost +=
      (STATE_COST[stateA] as number) +
      (STATE_COST[stateB] as number) +
      (STATE_COST[stateC] as number) +
      (STATE_COST[stateD] as number)
    lastA = unitA
    lastB = unitB
    lastC = unitC
    lastD = unitD
  }
  return cost + costOfUnits(4 * quarter, count)
}

function classOf(unit: number, last: number): number {
  return (unit === last ? CLASS_OF_REPEATED[unit] : CLASS_OF[unit]) as number
}

/** Tokens of a character of generated text by its length in UTF-8: mostly English and code, Cyrillic and Arabic, Chinese, emoji. */
const DELIVERED_COSTS = [0.25, 0.35, 0.65, 1.9] as const

/** Estimated tokens of text of which only the lengths of its characters are known. */
export function estimateDelivered(delivered: Delivered): number {
  const [one, two, three, four] = delivered.characters
  const [costOfOne, costOfTwo, costOfThree, costOfFour] = DELIVERED_COSTS
  return Math.ceil(one * costOfOne + two * costOfTwo + three * costOfThree + four * costOfFour)
}

const LARGEST_RATIO = 4
/** Tokens that a call needs to count for half: what a provider adds to every message says little about its text. */
const HALF_WEIGHT_TOKENS = 100
/** Weight of a new call against all before it, once there are some. */
const GAIN = 0.3

/**
 * Learns what to multiply estimates of one caller and model with, in [0.25, 4]: a moving average of actual/estimated, in
 * logarithms, so that double and half weigh the same. Figures that are not positive and finite teach nothing.
 */
export function correctRatio(ratio: number | undefined, estimated: number, actual: number): number {
  const before = Math.log(ratio === undefined ? 1 : clampRatio(ratio))
  if (!(estimated > 0 && actual > 0 && Number.isFinite(estimated) && Number.isFinite(actual))) return Math.exp(before)
  const weight = estimated / (estimated + HALF_WEIGHT_TOKENS)
  const gain = ratio === undefined ? weight : weight * GAIN
  const seen = Math.log(clampRatio(actual / estimated))
  return clampRatio(Math.exp(before + gain * (seen - before)))
}

function clampRatio(ratio: number): number {
  return Math.min(LARGEST_RATIO, Math.max(1 / LARGEST_RATIO, ratio))
}
