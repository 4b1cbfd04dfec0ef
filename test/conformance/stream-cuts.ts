/** `enforce_stream`: a stream that runs past what was reserved for it is ended properly. */

import Anthropic from '@anthropic-ai/sdk'
import { GoogleGenAI } from '@google/genai'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import type { Knobs } from '../support/model/index.ts'
import { APIS, type ApiCase, at, gemini } from './apis.ts'
import {
  call,
  events,
  expectRemainingBetween,
  keyOf,
  knobHeaders,
  lastReceived,
  remainingIn,
  type Stage,
  saidInStream,
  send,
  type World,
  worldOf,
} from './world.ts'

const CALLER = 'roomy-cut'
/** It says more than it may. */
const TALKATIVE: Partial<Knobs> = { disobey: 1, output: 2_000 }
const MESSAGES = [{ role: 'user' as const, content: 'Write one plain sentence about the sea.' }]

/** Says more than it may, and waits or goes on until the gateway hangs up. */
const UPSTREAMS: readonly (readonly [what: string, knobs: Partial<Knobs>])[] = [
  ['that waits', { hang: 600 }],
  ['that goes on and on', { pace: 1, output: 20_000 }],
  ['that compresses', { gzip: 1, hang: 600 }],
  ['that writes in pieces of seven bytes, with comments', { cut: 7, ending: 'crlf', comments: 1, hang: 600 }],
  ['that compresses, in pieces', { gzip: 1, cut: 50, ending: 'cr', hang: 600 }],
]

export function streamCuts(stage: Stage): void {
  describe('a stream past its reservation', () => {
    for (const api of APIS) {
      it.each(UPSTREAMS)(`${api.name}: is ended with the API’s own last events, of an upstream %s`, async (_, more) => {
        const world = worldOf(stage)
        const knobs = { ...TALKATIVE, ...more }
        const reply = await call(world, CALLER, api, { stream: true, maxTokens: 100, knobs })
        const held = remainingIn(reply)
        const data = await events(reply)
        expect(data.at(-1)).toMatch(api.lastEvent)
        expectCut(api, data)
        expect(await lastReceived(world).ended).toBe('gone')
        // Settled at what was delivered: more than was reserved, and no more than was seen.
        await expectRemainingBetween(world, CALLER, held - 300, held + 100)
      })
    }

    it('a list of Gemini: is ended as a list', async () => {
      const world = worldOf(stage)
      const reply = await send(world, CALLER, gemini, '/v1beta/models/gemini-2.5-flash:streamGenerateContent', {
        body: JSON.stringify(gemini.body({ model: 'gemini-2.5-flash', maxTokens: 100, stream: true })),
        headers: knobHeaders({ ...TALKATIVE, hang: 600 }),
      })
      const list = JSON.parse(await reply.text()) as unknown[]
      expect(at(list.at(-1), 'candidates', 0, 'finishReason')).toBe('MAX_TOKENS')
      expectCut(
        gemini,
        list.map((event) => JSON.stringify(event)),
      )
      expect(await lastReceived(world).ended).toBe('gone')
    })

    it('one within it is not touched', async () => {
      const world = worldOf(stage)
      for (const api of APIS) {
        const data = await events(await call(world, CALLER, api, { stream: true, maxTokens: 100 }))
        expect(saidInStream(api, data)).toBe(lastReceived(world).generation?.pieces.join(''))
      }
    })
  })

  describe('official clients see a normal end', () => {
    it('openai: chat completions', async () => {
      const world = worldOf(stage)
      const client = openai(world)
      for (const n of [1, 2]) {
        const stream = client.chat.completions.stream({ model: 'gpt-4o-mini', messages: MESSAGES, max_tokens: 100, n })
        const { choices } = await stream.finalChatCompletion()
        expect(choices.map(({ finish_reason }) => finish_reason)).toEqual(Array.from({ length: n }, () => 'length'))
        for (const { message } of choices) expectWords(message.content ?? '')
      }
    })

    it('openai: completions', async () => {
      const request = { model: 'gpt-4o-mini', prompt: 'Write.', max_tokens: 100, stream: true } as const
      let text = ''
      let reason: string | undefined
      for await (const chunk of await openai(worldOf(stage)).completions.create(request)) {
        text += chunk.choices[0]?.text ?? ''
        reason = chunk.choices[0]?.finish_reason ?? reason
      }
      expect(reason).toBe('length')
      expectWords(text)
    })

    it('openai: responses', async () => {
      const request = { model: 'gpt-4o-mini', input: 'Write.', max_output_tokens: 100 }
      const stream = openai(worldOf(stage)).responses.stream(request)
      let text = ''
      stream.on('response.output_text.delta', ({ delta }) => {
        text += delta
      })
      const response = await stream.finalResponse()
      expect(response.status).toBe('incomplete')
      expect(response.incomplete_details?.reason).toBe('max_output_tokens')
      expectWords(text)
    })

    it('anthropic: messages', async () => {
      const world = worldOf(stage)
      const client = new Anthropic({
        apiKey: keyOf(world, CALLER),
        baseURL: world.gateway.baseUrl,
        maxRetries: 0,
        defaultHeaders: knobHeaders(TALKATIVE),
      })
      const stream = client.messages.stream({ model: 'claude-sonnet-4-6', messages: MESSAGES, max_tokens: 100 })
      const { content, stop_reason, usage } = await stream.finalMessage()
      expect(stop_reason).toBe('max_tokens')
      const [block] = content
      expectWords(block?.type === 'text' ? block.text : '')
      // What was delivered, as far as anybody can tell.
      expect(usage.output_tokens).toBeGreaterThan(50)
      expect(usage.output_tokens).toBeLessThan(200)
    })

    it('google: generateContentStream', async () => {
      const world = worldOf(stage)
      const httpOptions = { baseUrl: world.gateway.baseUrl, headers: knobHeaders(TALKATIVE) }
      const { models } = new GoogleGenAI({ apiKey: keyOf(world, CALLER), httpOptions })
      const config = { maxOutputTokens: 100 }
      const asked = { model: 'gemini-2.5-flash', contents: 'Write.', config }
      let text = ''
      let reason: string | undefined
      for await (const chunk of await models.generateContentStream(asked)) {
        text += chunk.text ?? ''
        reason = chunk.candidates?.[0]?.finishReason ?? reason
      }
      expect(reason).toBe('MAX_TOKENS')
      expectWords(text)
    })
  })
}

function openai(world: World): OpenAI {
  return new OpenAI({
    apiKey: keyOf(world, CALLER),
    baseURL: `${world.gateway.baseUrl}/v1`,
    maxRetries: 0,
    defaultHeaders: knobHeaders(TALKATIVE),
  })
}

function expectCut(api: ApiCase, data: readonly string[]): void {
  expectWords(saidInStream(api, data))
}

function expectWords(text: string): void {
  const words = text.split(' ').length
  expect(words).toBeGreaterThan(40)
  expect(words).toBeLessThan(400)
}
