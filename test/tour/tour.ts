/** The stops of the tour. Each asks the gateway with an official client, shows what happened, and checks it. */

import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import type { DecisionEvent } from '../../policies/telemetry.ts'
import type { Heard } from './events.ts'
import type { House } from './house.ts'
import { number, type Screen } from './screen.ts'
import { FREE, GOLD, QUICK, TIERS, type Tier } from './tiers.ts'

export interface Tour {
  readonly house: House
  readonly heard: Heard
  readonly screen: Screen
}

const QUESTION = 'What does the sea sound like at night? Answer in one paragraph.'
const MESSAGES = [{ role: 'user' as const, content: QUESTION }]
const GPT = { model: 'gpt-4o-mini', messages: MESSAGES }
const CLAUDE = { model: 'claude-sonnet-4-6', messages: MESSAGES }

export async function takeTour(tour: Tour): Promise<void> {
  for (const stop of [plainCall, stream, burst, refusal, refund, recovery]) {
    tour.heard.clear()
    try {
      await stop(tour)
    } catch (error) {
      tour.screen.check(false, `the step ended with ${error instanceof Error ? error.message : 'an unknown error'}`)
    }
  }
  tour.screen.heading('Where everybody stands')
  for (const tier of TIERS) await showBar(tour, tier)
}

async function plainCall(tour: Tour): Promise<void> {
  const { screen } = tour
  screen.heading('1. A plain call: openai client, tier free')
  const before = await used(tour, FREE)
  tour.heard.clear()
  screen.fact('asked', 'chat.completions.create, max_tokens 300')
  const reply = await openai(tour, FREE).chat.completions.create({ ...GPT, max_tokens: 300 })
  const spent = reply.usage?.total_tokens ?? Number.NaN
  const [decision] = tour.heard.decisions
  screen.fact('decided', passed(decision, 300))
  screen.fact('settled', `${number(spent)} tokens really used, the rest given back`)
  const after = await showBar(tour, FREE)
  screen.check(after - before === spent, `exactly what the provider reported was counted: ${number(spent)} tokens`)
}

async function stream(tour: Tour): Promise<void> {
  const { screen, house } = tour
  screen.heading('2. A stream: anthropic client, tier gold')
  const before = await used(tour, GOLD)
  tour.heard.clear()
  screen.fact('asked', 'messages.stream, max_tokens 400')
  screen.piece('  ')
  const headers = { 'x-model-output': '24', 'x-model-pace': '15' }
  const running = anthropic(tour, GOLD).messages.stream({ ...CLAUDE, max_tokens: 400 }, { headers })
  let pieces = 0
  running.on('text', (text) => {
    pieces++
    screen.piece(text)
  })
  const message = await running.finalMessage()
  screen.line()
  const spent = message.usage.input_tokens + message.usage.output_tokens
  screen.fact('decided', passed(tour.heard.decisions[0], 400))
  screen.fact('settled', `${number(spent)} tokens, read from the stream as it passed`)
  const after = await showBar(tour, GOLD)
  screen.check(pieces === 24, `the stream came in ${pieces} pieces, none held back`)
  screen.check(after - before === spent, `exactly what the provider reported was counted: ${number(spent)} tokens`)
  screen.check(house.model.requests.every(hidesKeys(house)), 'no caller’s key ever reached the upstream')
}

async function burst(tour: Tour): Promise<void> {
  const { screen, house } = tour
  screen.heading('3. Twenty calls at once: openai client, tier free')
  const before = await used(tour, FREE)
  tour.heard.clear()
  const reached = house.model.requests.length
  screen.fact('asked', '20 x max_tokens 180, all at the same moment; each uses all it may')
  const client = openai(tour, FREE)
  const headers = { 'x-model-output': '180', 'x-model-delay': '150' }
  const calls = Array.from({ length: 20 }, async () => {
    try {
      const reply = await client.chat.completions.create({ ...GPT, max_tokens: 180 }, { headers })
      return reply.usage?.total_tokens ?? Number.NaN
    } catch (error) {
      if (error instanceof OpenAI.RateLimitError) return undefined
      throw error
    }
  })
  const spent = await Promise.all(calls)
  const through = spent.filter((tokens) => tokens !== undefined)
  const total = through.reduce((sum, tokens) => sum + tokens, 0)
  screen.fact('decided', spent.map((tokens) => (tokens === undefined ? '✗' : '✓')).join(' '))
  screen.fact(
    '',
    `${through.length} passed, ${20 - through.length} refused: each had to reserve its whole budget first`,
  )
  const after = await showBar(tour, FREE)
  screen.check(through.length > 0 && through.length < 20, 'some passed, and some had to wait')
  screen.check(
    after === before + total && after <= FREE.limit,
    `no overshoot: ${number(after)} of ${number(FREE.limit)} tokens`,
  )
  screen.check(house.model.requests.length - reached === through.length, 'the upstream saw only those that passed')
}

async function refusal(tour: Tour): Promise<void> {
  const { screen } = tour
  screen.heading('4. A refusal: anthropic client, tier free')
  const before = await used(tour, FREE)
  tour.heard.clear()
  screen.fact('asked', 'messages.create, max_tokens 500')
  const error = await anthropic(tour, FREE)
    .messages.create({ ...CLAUDE, max_tokens: 500 })
    .then(
      () => undefined,
      (reason: unknown) => reason,
    )
  const refused = error instanceof Anthropic.RateLimitError ? error : undefined
  const header = (name: string): string | null => refused?.headers?.get(name) ?? null
  screen.fact(
    'decided',
    `${refused?.status} ${tour.heard.decisions[0]?.code} by rule "${tour.heard.decisions[0]?.rule}"`,
  )
  screen.fact('why', messageOf(refused?.error))
  for (const name of SHOWN_HEADERS) screen.fact('', `${name}: ${header(name)}`)
  const after = await showBar(tour, FREE)
  screen.check(refused !== undefined, 'the official client raised its own RateLimitError')
  screen.check(
    SHOWN_HEADERS.every((name) => header(name) !== null),
    'it was told when to come back, in its own headers',
  )
  screen.check(after === before, 'the refused call cost nothing')
}

const SHOWN_HEADERS = [
  'retry-after',
  'retry-after-ms',
  'x-ratelimit-remaining-tokens',
  'anthropic-ratelimit-tokens-reset',
  'ratelimit',
]

async function refund(tour: Tour): Promise<void> {
  const { screen } = tour
  screen.heading('5. The upstream fails: openai client, tier gold')
  const before = await used(tour, GOLD)
  tour.heard.clear()
  screen.fact('asked', 'chat.completions.create, max_tokens 5,000; the upstream answers 500')
  const headers = { 'x-model-status': '500' }
  const error = await openai(tour, GOLD)
    .chat.completions.create({ ...GPT, max_tokens: 5_000 }, { headers })
    .then(
      () => undefined,
      (reason: unknown) => reason,
    )
  screen.fact('decided', passed(tour.heard.decisions[0], 5_000))
  screen.fact('settled', `${tour.heard.settlements[0]?.usage}: the upstream produced nothing`)
  const after = await showBar(tour, GOLD)
  screen.check(error instanceof OpenAI.InternalServerError, 'the client saw the upstream’s own error')
  screen.check(after === before, 'everything reserved was given back')
}

async function recovery(tour: Tour): Promise<void> {
  const { screen, heard } = tour
  screen.heading(`6. Recovery: openai client with its own retries, tier quick (${QUICK.limit} tokens ${QUICK.window})`)
  heard.clear()
  screen.fact('asked', 'max_tokens 250, twice in a row')
  const client = openai(tour, QUICK, 1)
  const headers = { 'x-model-output': '250' }
  const ask = (): Promise<unknown> => client.chat.completions.create({ ...GPT, max_tokens: 250 }, { headers })
  await ask()
  await showBar(tour, QUICK)
  heard.clear()
  screen.fact('', 'the second call is refused; the client waits as long as it was told …')
  await ask()
  const verdicts = heard.decisions.map(({ decision, code }) => code ?? decision)
  screen.fact('decided', verdicts.join(', then '))
  screen.check(verdicts.join() === 'rate_limit_exceeded,pass', 'the official client recovered by itself')
}

function passed(decision: DecisionEvent | undefined, budget: number): string {
  if (decision?.decision !== 'pass') return `${decision?.code}`
  const input = decision.estimated?.input ?? 0
  return `passed: ${number(input + budget)} reserved (about ${number(input)} in, at most ${number(budget)} out)`
}

function messageOf(body: unknown): string {
  const error = typeof body === 'object' && body !== null && 'error' in body ? body.error : undefined
  return typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : ''
}

async function showBar(tour: Tour, tier: Tier): Promise<number> {
  const now = await used(tour, tier)
  tour.screen.bar(tier.name, now, tier.limit, tier.window)
  return now
}

/** Asked with a call that can never fit: it is refused with the caller's standing and costs nothing. */
async function used({ house }: Tour, tier: Tier): Promise<number> {
  const reply = await fetch(`${house.baseUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${house.keys[tier.name]}` },
    body: JSON.stringify({ ...GPT, max_tokens: 1_000_000_000 }),
  })
  await reply.arrayBuffer()
  const remaining = reply.headers.get('x-ratelimit-remaining-tokens')
  if (remaining === null) throw new Error(`the gateway answered ${reply.status} without the caller's standing`)
  return tier.limit - Number(remaining)
}

function openai({ house }: Tour, tier: Tier, maxRetries = 0): OpenAI {
  return new OpenAI({ apiKey: house.keys[tier.name] ?? '', baseURL: `${house.baseUrl}/v1`, maxRetries })
}

function anthropic({ house }: Tour, tier: Tier): Anthropic {
  return new Anthropic({ apiKey: house.keys[tier.name] ?? '', baseURL: house.baseUrl, maxRetries: 0 })
}

function hidesKeys(house: House): (received: House['model']['requests'][number]) => boolean {
  const secrets = Object.values(house.keys)
  return ({ url, rawHeaders, body }) => {
    const sent = [url, ...rawHeaders, body.toString()].join('\n')
    return secrets.every((secret) => !sent.includes(secret) && !sent.includes(encodeURIComponent(secret)))
  }
}
