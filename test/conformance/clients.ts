/** The official clients, unmodified: only base URL and key are set. */

import Anthropic from '@anthropic-ai/sdk'
import { ApiError, GoogleGenAI } from '@google/genai'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { QUICK } from './setup.ts'
import { keyOf, lastReceived, type Stage, type World, worldOf } from './world.ts'

const MESSAGES = [{ role: 'user' as const, content: 'Write one plain sentence about the sea.' }]
const GPT = { model: 'gpt-4o-mini', messages: MESSAGES }
const CLAUDE = { model: 'claude-sonnet-4-6', messages: MESSAGES }
const GEMINI = { model: 'gemini-2.5-flash', contents: 'Write one plain sentence about the sea.' }

function openai(world: World, caller: string, maxRetries = 0): OpenAI {
  return new OpenAI({ apiKey: keyOf(world, caller), baseURL: `${world.gateway.baseUrl}/v1`, maxRetries })
}

function anthropic(world: World, caller: string, maxRetries = 0): Anthropic {
  return new Anthropic({ apiKey: keyOf(world, caller), baseURL: world.gateway.baseUrl, maxRetries })
}

function google(world: World, caller: string): GoogleGenAI {
  return new GoogleGenAI({ apiKey: keyOf(world, caller), httpOptions: { baseUrl: world.gateway.baseUrl } })
}

export function clients(stage: Stage): void {
  describe('official clients', () => {
    it('openai: call, stream, responses, embeddings, models', async () => {
      const client = openai(worldOf(stage), 'roomy-sdk-openai')
      const reply = await client.chat.completions.create({ ...GPT, max_tokens: 9 })
      expect(reply.usage?.completion_tokens).toBe(9)
      let text = ''
      let chunks = 0
      for await (const chunk of await client.chat.completions.create({ ...GPT, max_tokens: 9, stream: true })) {
        expect(chunk.choices).toHaveLength(1)
        text += chunk.choices[0]?.delta.content ?? ''
        chunks++
      }
      expect([text, chunks]).toEqual([reply.choices[0]?.message.content, 11])
      const response = await client.responses.create({ model: 'gpt-5.1', input: 'Hi', max_output_tokens: 9 })
      expect(response.output_text.split(' ')).toHaveLength(9)
      const vectors = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'] })
      expect(vectors.data).toHaveLength(2)
      expect((await client.models.list()).data).toHaveLength(1)
    })

    it('anthropic: call, stream, count_tokens', async () => {
      const client = anthropic(worldOf(stage), 'roomy-sdk-anthropic')
      expect((await client.messages.create({ ...CLAUDE, max_tokens: 9 })).usage.output_tokens).toBe(9)
      const final = await client.messages.stream({ ...CLAUDE, max_tokens: 9 }).finalMessage()
      expect([final.usage.output_tokens, final.stop_reason]).toEqual([9, 'max_tokens'])
      expect((await client.messages.countTokens(CLAUDE)).input_tokens).toBeGreaterThan(0)
    })

    it('google: call, stream, countTokens', async () => {
      const { models } = google(worldOf(stage), 'roomy-sdk-google')
      const asked = { ...GEMINI, config: { maxOutputTokens: 9 } }
      const reply = await models.generateContent(asked)
      expect(reply.usageMetadata?.candidatesTokenCount).toBe(9)
      let text = ''
      let reason: string | undefined
      for await (const chunk of await models.generateContentStream(asked)) {
        text += chunk.text ?? ''
        reason = chunk.candidates?.[0]?.finishReason ?? reason
      }
      expect([text, reason]).toEqual([reply.text, 'MAX_TOKENS'])
      expect((await models.countTokens(GEMINI)).totalTokens).toBeGreaterThan(0)
    })

    it('all throw their own errors for a refusal', async () => {
      const world = worldOf(stage)
      const huge = 1_000_000_000
      const chat = openai(world, 'roomy-sdk-openai', 5).chat.completions.create({ ...GPT, max_tokens: huge })
      await expect(chat).rejects.toMatchObject({ status: 429, code: 'request_exceeds_limit' })
      await expect(chat).rejects.toBeInstanceOf(OpenAI.RateLimitError)
      const message = anthropic(world, 'roomy-sdk-anthropic', 5).messages.create({
        ...CLAUDE,
        max_tokens: huge,
        stream: true,
      })
      await expect(message).rejects.toBeInstanceOf(Anthropic.RateLimitError)
      const content = google(world, 'roomy-sdk-google').models.generateContent({
        ...GEMINI,
        config: { maxOutputTokens: huge },
      })
      await expect(content).rejects.toMatchObject({ status: 429 })
      await expect(content).rejects.toBeInstanceOf(ApiError)
    })

    it('both wait as told after a 429, and then succeed', async () => {
      const world = worldOf(stage)
      const max_tokens = QUICK.limit - 60
      const headers = { 'x-model-output': String(max_tokens) }
      const chat = (): Promise<unknown> =>
        openai(world, 'quick-sdk-openai', 2).chat.completions.create({ ...GPT, max_tokens }, { headers })
      const message = (): Promise<unknown> =>
        anthropic(world, 'quick-sdk-anthropic', 2).messages.create({ ...CLAUDE, max_tokens }, { headers })
      await Promise.all([chat(), message()])
      await Promise.all([chat(), message()])
      // The official clients count their tries: the second one is what went through.
      const tries = world.model.requests.map((received) => received.headers['x-stainless-retry-count'])
      expect(tries.filter((count) => count === '1')).toHaveLength(2)
    })

    it('both retry what the upstream failed', async () => {
      const world = worldOf(stage)
      world.model.next({ status: 500 })
      await openai(world, 'roomy-sdk-openai', 1).chat.completions.create({ ...GPT, max_tokens: 9 })
      expect(lastReceived(world).headers['x-stainless-retry-count']).toBe('1')
      world.model.next({ status: 529 })
      await anthropic(world, 'roomy-sdk-anthropic', 1).messages.create({ ...CLAUDE, max_tokens: 9 })
      expect(lastReceived(world).headers['x-stainless-retry-count']).toBe('1')
    })
  })
}
