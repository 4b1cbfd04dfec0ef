/**
 * Fits the estimator's costs anew: `npx tsx test/bench/estimate-fit.ts FOLDER`, where each subfolder of FOLDER is one kind of
 * text and holds text files of some hundred to some thousand characters. Prints the table for
 * `policies/llm/estimate-costs.ts`. Places that share a cost there keep sharing one.
 *
 * The present costs come from prose in 12 languages (the translations of javascript.info and of the Rust book, without
 * their code), the Universal Declaration of Human Rights in 46, source code in 8 languages, JSON, logs (loghub),
 * base64, hex and numbers, all with equal weight a kind, and random text of each script with a thirtieth of it. Costs of a
 * run's start were kept above 0.4, and of its rest above 0.05, so that no text is cheap because nobody writes it.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadTokenizer } from '../../policies/llm/estimate.ts'
import {
  CLASS_BITS,
  CLASS_OF,
  CLASS_OF_REPEATED,
  COSTS,
  FIRST_STATE,
  NAMES,
  NEXT_STATE,
  PLACES,
} from '../../policies/llm/estimate-costs.ts'

/** Pulls a cost that the texts say little of towards the present one. */
const PULL = 0.02
const LEAST = 0.02
const ROUNDS = 3000

interface Sample {
  readonly counts: Float64Array
  readonly tokens: number
  /** Of the squared relative error. */
  readonly weight: number
}

async function main(folder: string): Promise<void> {
  const parameters = parameterOfState()
  const before = presentCosts(parameters)
  const costs = solve(await readSamples(folder, parameters), before)
  for (const [index, name] of NAMES.entries()) {
    const places = COSTS[name].map((_, place) => costs[parameters[index * PLACES + place] ?? 0] ?? 0)
    console.log(`  ${name}: [${places.map((cost) => Number(cost.toFixed(2))).join(', ')}],`)
  }
}

/** A parameter for each cost of the table, places with the same cost in a row sharing one. */
function parameterOfState(): Uint16Array {
  const parameters = new Uint16Array(NAMES.length * PLACES)
  let parameter = -1
  for (const [index, name] of NAMES.entries()) {
    const costs: readonly number[] = COSTS[name]
    for (let place = 0; place < PLACES; place++) {
      if (place === 0 || (place < costs.length && costs[place] !== costs[place - 1])) parameter++
      parameters[index * PLACES + place] = parameter
    }
  }
  return parameters
}

function presentCosts(parameters: Uint16Array): Float64Array {
  const costs = new Float64Array(Math.max(...parameters) + 1)
  for (const [index, name] of NAMES.entries())
    for (const [place, cost] of COSTS[name].entries()) costs[parameters[index * PLACES + place] ?? 0] = cost
  return costs
}

async function readSamples(folder: string, parameters: Uint16Array): Promise<Sample[]> {
  const tokenizer = await loadTokenizer('o200k_base')
  const samples: Sample[] = []
  for (const kind of readdirSync(folder)) {
    const files = readdirSync(join(folder, kind))
    for (const file of files) {
      const text = readFileSync(join(folder, kind, file), 'utf8')
      const tokens = await tokenizer.count([text])
      if (tokens === 0) continue
      samples.push({ counts: count(text, parameters), tokens, weight: 100 / files.length / tokens ** 2 })
    }
  }
  return samples
}

function count(text: string, parameters: Uint16Array): Float64Array {
  const counts = new Float64Array(Math.max(...parameters) + 1)
  let state = FIRST_STATE
  let last = -1
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    const kind = (unit === last ? CLASS_OF_REPEATED[unit] : CLASS_OF[unit]) ?? 0
    state = NEXT_STATE[(state << CLASS_BITS) | kind] ?? 0
    const parameter = parameters[state] ?? 0
    counts[parameter] = (counts[parameter] ?? 0) + 1
    last = unit
  }
  return counts
}

/** Least squares of the relative errors, no cost below the least: coordinate descent on the normal equations. */
function solve(samples: readonly Sample[], before: Float64Array): Float64Array {
  const size = before.length
  const products = Array.from({ length: size }, () => new Float64Array(size))
  const targets = new Float64Array(size)
  for (const { counts, tokens, weight } of samples) {
    for (const [row, rowCount] of counts.entries()) {
      if (rowCount === 0) continue
      targets[row] = (targets[row] ?? 0) + weight * rowCount * tokens
      const line = products[row] ?? new Float64Array(size)
      for (const [column, columnCount] of counts.entries())
        line[column] = (line[column] ?? 0) + weight * rowCount * columnCount
    }
  }
  const costs = before.slice()
  for (let round = 0; round < ROUNDS; round++) {
    for (const [row, line] of products.entries()) {
      const own = line[row] ?? 0
      const others = line.reduce(
        (sum, product, column) => sum + (column === row ? 0 : product * (costs[column] ?? 0)),
        0,
      )
      costs[row] = Math.max(LEAST, ((targets[row] ?? 0) + PULL * (before[row] ?? 0) - others) / (own + PULL))
    }
  }
  return costs
}

const [folder] = process.argv.slice(2)
if (folder === undefined) throw new Error('usage: npx tsx test/bench/estimate-fit.ts FOLDER')
await main(folder)
