import { describe, expect, it } from 'vitest'
import { geminiEmbeddings } from '../../../../policies/llm/protocols/gemini-embeddings.ts'
import { geminiGenerate } from '../../../../policies/llm/protocols/gemini-generate.ts'
import { bodyOf, readCall, refusalOf, textOf } from '../support.ts'

const CONTENTS = [{ role: 'user', parts: [{ text: 'Hi' }] }]
const operation = { model: 'gemini-2.0-flash' }
const read = (members: object = {}, more: object = {}) =>
  readCall(geminiGenerate, { contents: CONTENTS, ...members }, { ...operation, ...more })

describe('generateContent', () => {
  it('reads its decisive fields in either spelling', () => {
    expect(read()).toMatchObject({ model: 'gemini-2.0-flash', stream: false, candidates: 1, reasoning: false })
    expect(read().declaredOutput).toBeUndefined()
    expect(read({}, { stream: true }).stream).toBe(true)
    const expected = { declaredOutput: 300, candidates: 3 }
    expect(read({ generationConfig: { maxOutputTokens: 100, candidateCount: 3 } })).toMatchObject(expected)
    expect(read({ generation_config: { max_output_tokens: 100, candidate_count: 3 } })).toMatchObject(expected)
    expect(read({ generationConfig: { thinkingConfig: { thinkingBudget: 0 } } }).reasoning).toBe(true)
    expect(read({}, { model: 'gemini-2.5-flash' }).reasoning).toBe(true)
  })

  it('knows that images and speech are no text that could be counted', () => {
    expect(read({ generationConfig: { responseModalities: ['TEXT'] } }).reasoning).toBe(false)
    expect(read({ generationConfig: { responseModalities: ['TEXT', 'IMAGE'] } }).reasoning).toBe(true)
    expect(read({ generation_config: { response_modalities: ['AUDIO'] } }).reasoning).toBe(true)
    expect(read({ generationConfig: { speechConfig: {} } }).reasoning).toBe(true)
  })

  it.each([
    [{ generationConfig: { maxOutputTokens: '100' } }, 'generationConfig.maxOutputTokens'],
    [{ generationConfig: { maxOutputTokens: -1 } }, 'generationConfig.maxOutputTokens'],
    [{ generation_config: { max_output_tokens: 1.5 } }, 'generationConfig.max_output_tokens'],
    [{ generationConfig: { candidateCount: 0 } }, 'generationConfig.candidateCount'],
    [{ generationConfig: { candidateCount: '2' } }, 'generationConfig.candidateCount'],
    [{ generationConfig: [] }, 'generationConfig'],
    [{ generationConfig: { maxOutputTokens: 5, max_output_tokens: 5000 } }, 'maxOutputTokens'],
    [{ generationConfig: {}, generation_config: {} }, 'generationConfig'],
    [{ generationConfig: { MaxOutputTokens: 5 } }, 'maxOutputTokens'],
    [{ GenerationConfig: {} }, 'generationConfig'],
    [{ contents: 'Hi' }, 'contents'],
    [{ contents: ['Hi'] }, 'contents'],
    [{ model: 'models/gemini-2.5-pro' }, 'model'],
    [{ model: 5 }, 'model'],
  ])('refuses %j', (members, name) => {
    expect(refusalOf(() => read(members)).message).toContain(`"${name}"`)
  })

  it("takes a model that is the path's", () => {
    expect(read({ model: 'models/gemini-2.0-flash' }).model).toBe('gemini-2.0-flash')
  })

  it('takes one of a list without the list, as Google does', () => {
    const { input } = read({
      contents: { role: 'user', parts: { text: 'one' } },
      tools: { functionDeclarations: { name: 'find', description: 'finds' } },
    })
    expect(input.texts.join()).toContain('one')
    expect(input.texts.join()).toContain('finds')
    expect(input.unseen).toBe(false)
    expect(read({ tools: { googleSearch: {} } }).input.unseen).toBe(true)
    expect(read({ generationConfig: { responseModalities: 'TEXT' } }).reasoning).toBe(false)
    expect(read({ generation_config: { response_modalities: 'IMAGE' } }).reasoning).toBe(true)
  })

  it('counts what it does not know as text', () => {
    const parts = [{ thought: true, thoughtSignature: 'c2ln', toolResponse: { response: { page: 'of the web' } } }]
    expect(read({ contents: [{ parts }] }).input.texts).toEqual(['{"response":{"page":"of the web"}}'])
    const { texts } = read({ generationConfig: { _responseJsonSchema: { description: 'a list' }, topK: 3 } }).input
    expect(texts).toContain('{"description":"a list"}')
  })

  it('counts parts of every kind, in either spelling', () => {
    const { input } = read({
      systemInstruction: { parts: [{ text: 'sys' }] },
      contents: [
        {
          role: 'user',
          parts: [
            { text: 'part' },
            { inlineData: { mimeType: 'image/png', data: 'A'.repeat(5000) } },
            { inline_data: { mime_type: 'audio/wav', data: 'A'.repeat(5000) } },
            { inlineData: { mimeType: 'application/pdf', data: 'A'.repeat(5000) } },
            { fileData: { mimeType: 'image/png', fileUri: 'gs://x' } },
          ],
        },
        {
          role: 'model',
          parts: [{ functionCall: { name: 'look', args: { q: 'arg' } } }, { executableCode: { code: 'print' } }],
        },
        { role: 'user', parts: [{ function_response: { name: 'look', response: { r: 'result' } } }] },
      ],
      tools: [{ functionDeclarations: [{ name: 'look', description: 'looks up' }] }],
      generationConfig: { responseSchema: { type: 'OBJECT', description: 'schema' } },
    })
    const all = input.texts.join('\n')
    for (const text of ['sys', 'part', 'look', 'arg', 'print', 'result', 'looks up', 'schema'])
      expect(all).toContain(text)
    expect(all).not.toContain('AAAA')
    expect(input).toMatchObject({ images: 2, audio: 1, files: 1, tokenIds: 12, unseen: false })
  })

  it.each([
    [{ cachedContent: 'cachedContents/1' }],
    [{ cached_content: 'cachedContents/1' }],
    [{ tools: [{ googleSearch: {} }] }],
    [{ tools: [{ code_execution: {} }] }],
    [{ contents: [{ parts: [{ fileData: { mimeType: 'video/mp4', fileUri: 'gs://x' } }] }] }],
  ])('knows that it cannot see all of %j', (members) => {
    expect(read(members).input.unseen).toBe(true)
  })
})

describe('editing generateContent', () => {
  const edit = (members: object, maxOutputTokens: number) => {
    const body = bodyOf({ contents: CONTENTS, ...members })
    const call = geminiGenerate.read(body, { name: 'chat', read: false, ...operation })
    const { contents, ...rest } = JSON.parse(textOf(geminiGenerate.edit(body, call, { maxOutputTokens })))
    expect(contents).toEqual(CONTENTS)
    return rest as object
  }

  it('lowers or adds the limit in the spelling that is there', () => {
    expect(edit({}, 50)).toEqual({ generationConfig: { maxOutputTokens: 50 } })
    expect(edit({ generationConfig: { temperature: 1 } }, 50)).toEqual({
      generationConfig: { temperature: 1, maxOutputTokens: 50 },
    })
    expect(edit({ generationConfig: { maxOutputTokens: 20 } }, 50)).toEqual({
      generationConfig: { maxOutputTokens: 20 },
    })
    expect(edit({ generation_config: { max_output_tokens: 100, candidate_count: 2 } }, 50)).toEqual({
      generation_config: { max_output_tokens: 25, candidate_count: 2 },
    })
  })
})

describe('embedContent', () => {
  const embed = (body: object) =>
    readCall(geminiEmbeddings, body, { name: 'embeddings', model: 'gemini-embedding-001' })

  it('counts one content or many', () => {
    expect(embed({ content: { parts: [{ text: 'a' }] } })).toMatchObject({ generates: false, input: { texts: ['a'] } })
    const requests = ['a', 'b'].map((text) => ({
      model: 'models/gemini-embedding-001',
      content: { parts: [{ text }] },
    }))
    expect(embed({ requests }).input.texts).toEqual(['a', 'b'])
  })

  it('refuses requests for another model', () => {
    expect(refusalOf(() => embed({ requests: [{ model: 'models/other', content: {} }] })).message).toContain('"model"')
    expect(refusalOf(() => embed({ requests: {} })).message).toContain('"requests"')
  })
})
