import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { createRequestBody } from '../../../plugins/express-gateway/body.ts'
import type { EgRequest } from '../../../plugins/express-gateway/eg.ts'

function request(headers: Readonly<Record<string, unknown>>): EgRequest & PassThrough {
  return Object.assign(new PassThrough(), { headers }) as unknown as EgRequest & PassThrough
}

function endless(text: string): PassThrough {
  const stream = new PassThrough()
  stream.write(text)
  return stream
}

describe('a request body', () => {
  it('ends where its length says, on a stream that does not', async () => {
    const body = createRequestBody(request({ 'content-length': 3 }), endless('abcdef'))
    expect(Buffer.from((await body.read(10)) ?? []).toString()).toBe('abc')
    const { stream, length } = body.forward(undefined)
    expect([(await stream.toArray()).join(''), length]).toEqual(['abc', 3])
  })

  it('is copied to the same length when nobody read it', async () => {
    const { stream } = createRequestBody(request({ 'content-length': '3' }), endless('abcdef')).forward(undefined)
    expect((await stream.toArray()).join('')).toBe('abc')
  })

  it('is not read from a stream of unknown length, nor from one that is over', async () => {
    const chunked = { 'transfer-encoding': 'chunked' }
    await expect(createRequestBody(request(chunked), endless('abc')).read(10)).rejects.toThrow('without a length')
    const over = request(chunked)
    over.end()
    await over.toArray()
    await expect(createRequestBody(over, undefined).read(10)).rejects.toThrow('has read the body')
  })

  it('is refused as soon as it is too long, and what is left is not kept', async () => {
    const source = request({ 'transfer-encoding': 'chunked' })
    const reading = createRequestBody(source, undefined).read(5)
    source.write('abcdef')
    await expect(reading).rejects.toMatchObject({ code: 'request_too_large' })
    expect([source.isPaused(), source.listenerCount('data')]).toEqual([true, 0])
  })

  it('is refused, as nobody’s fault, when the client leaves in the middle or before', async () => {
    const source = request({ 'content-length': '9' })
    const reading = createRequestBody(source, undefined).read(100)
    source.write('abc')
    source.destroy()
    await expect(reading).rejects.toMatchObject({ name: 'RefusedRead', code: 'invalid_request' })
    const late = createRequestBody(source, undefined).read(100)
    await expect(late).rejects.toMatchObject({ name: 'RefusedRead', code: 'invalid_request' })
  })

  it('of a later reader is held to its own cap', async () => {
    const source = request({ 'content-length': '4' })
    source.end('abcd')
    const body = createRequestBody(source, undefined)
    await body.read(10)
    await expect(body.read(3)).rejects.toMatchObject({ code: 'request_too_large' })
  })

  it('is absent when there is none', async () => {
    expect(await createRequestBody(request({}), undefined).read(10)).toBeUndefined()
    expect(await createRequestBody(request({ 'content-length': '0' }), undefined).read(10)).toBeUndefined()
    const { stream, length } = createRequestBody(request({}), undefined).forward(undefined)
    expect([await stream.toArray(), length]).toEqual([[], undefined])
  })
})
