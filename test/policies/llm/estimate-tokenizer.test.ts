import { encode as encodeO200k } from 'gpt-tokenizer/encoding/o200k_base'
import { describe, expect, it } from 'vitest'
import { PortcullisError } from '../../../policies/errors.ts'
import { encodingOf, loadTokenizer } from '../../../policies/llm/tokenizer.ts'
import { unseenTexts } from './estimate-texts.ts'

describe('loadTokenizer', () => {
  it('counts exactly, but for a token at a cut', async () => {
    const tokenizer = await loadTokenizer('o200k_base')
    for (const text of [...unseenTexts().english.slice(0, 20), ...unseenTexts().chinese.slice(0, 20)]) {
      const exact = encodeO200k(text).length
      const cuts = Math.ceil(text.length / 800)
      expect(Math.abs((await tokenizer.count([text])) - exact)).toBeLessThanOrEqual(cuts * 2)
    }
    expect(await tokenizer.count(['Hello, world!', ''])).toBe(encodeO200k('Hello, world!').length)
  })

  it('has both encodings', async () => {
    const text = 'Donaudampfschifffahrtsgesellschaft, 你好世界'
    const counts = [
      await (await loadTokenizer('o200k_base')).count([text]),
      await (await loadTokenizer('cl100k_base')).count([text]),
    ]
    expect(counts[0]).toBeLessThan(counts[1] ?? 0)
  })

  it('takes special tokens for the text that they are', async () => {
    const tokenizer = await loadTokenizer('cl100k_base')
    expect(await tokenizer.count(['a <|endoftext|> b <|im_start|>'])).toBeGreaterThan(5)
  })

  it('never cuts a character in two', async () => {
    const seen: string[] = []
    const tokenizer = await loadTokenizer('o200k_base', async () => ({
      encode: (text) => {
        seen.push(text)
        return [0]
      },
    }))
    const text = `x${'😀'.repeat(2000)}`
    await tokenizer.count([text])
    expect(seen.join('')).toBe(text)
    for (const piece of seen) {
      expect(piece.length).toBeLessThanOrEqual(1000)
      expect(Buffer.from(piece).toString()).toBe(piece)
    }
  })

  it('lets other work run while it counts a large prompt', async () => {
    const tokenizer = await loadTokenizer('o200k_base')
    let turns = 0
    let other = setImmediate(function work() {
      turns++
      other = setImmediate(work)
    })
    await tokenizer.count(['The quick brown fox jumps over the lazy dog. '.repeat(4000)])
    clearImmediate(other)
    expect(turns).toBeGreaterThan(5)
  })

  it('says what to install when the package is missing', async () => {
    const missing = () => Promise.reject(new Error("Cannot find package 'gpt-tokenizer'"))
    const error = await loadTokenizer('o200k_base', missing).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(PortcullisError)
    expect(error).toMatchObject({
      code: 'tokenizer_missing',
      message: expect.stringContaining('npm install gpt-tokenizer'),
    })
  })
})

it.each([
  ['gpt-4o-mini', 'o200k_base'],
  ['gpt-4.1', 'o200k_base'],
  ['gpt-5', 'o200k_base'],
  ['o3', 'o200k_base'],
  ['claude-sonnet-4-5', 'o200k_base'],
  ['gpt-4', 'cl100k_base'],
  ['gpt-4-turbo', 'cl100k_base'],
  ['gpt-3.5-turbo', 'cl100k_base'],
  ['text-embedding-3-small', 'cl100k_base'],
])('encodingOf(%s) is %s', (model, encoding) => {
  expect(encodingOf(model)).toBe(encoding)
})
