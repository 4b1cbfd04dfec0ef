/**
 * What the policy judged against what upstreams really read: Python's `json`, `cgi` and `email`, undici and formidable. A
 * body that is let through names a granted model to each of them.
 */

import { spawnSync } from 'node:child_process'
import type { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import { PassThrough } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { exchange, granted, setUp } from '../policies/scope/support.ts'

/** More with `FUZZ_RUNS`, to look for new ways. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 1_500)
const PYTHON = new URL('upstreams/read_model.py', import.meta.url).pathname
const pythonMissing = spawnSync('python3', ['-W', 'ignore', '-c', 'import cgi']).status !== 0
if (pythonMissing) console.warn('skipped: no python3 with cgi, so bodies are not compared with what Python reads')

interface Sent {
  readonly type: string
  readonly body: Buffer
}

const OK = 'gpt-4o-mini'
const BAD = 'gpt-5'

/** Puts pieces in at random places, and takes some bytes out. */
function damaged(whole: fc.Arbitrary<Buffer>, junk: readonly string[]): fc.Arbitrary<Buffer> {
  const change = fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(...junk), fc.nat(2))
  return fc.tuple(whole, fc.array(change, { maxLength: 3 })).map(([bytes, changes]) =>
    changes.reduce((now, [where, what, eaten]) => {
      const at = Math.floor(where * now.length)
      return Buffer.concat([now.subarray(0, at), Buffer.from(what, 'latin1'), now.subarray(at + eaten)])
    }, bytes),
  )
}

const KEYS = [
  'model',
  'Model',
  'MODEL',
  'mod\\u0065l',
  '\\u006dodel',
  'model ',
  'model\\u0000',
  'models',
  'mo\\del',
  'x',
]
const VALUES = [
  `"${OK}"`,
  `"${BAD}"`,
  `["${BAD}"]`,
  `{"model":"${BAD}"}`,
  'null',
  `"${OK}\\u0000"`,
  '"gpt-\\u0034o-mini"',
]
const member = fc
  .tuple(fc.constantFrom(...KEYS), fc.constantFrom(...VALUES), fc.constantFrom('', ' ', '\n'))
  .map(([key, value, pad]) => `${pad}"${key}"${pad}:${pad}${value}`)
const json = fc
  .tuple(
    fc.array(member, { maxLength: 2 }),
    fc.boolean(),
    fc.constantFrom<BufferEncoding>('utf8', 'utf8', 'utf8', 'utf16le'),
  )
  .map(([members, own, encoding]) => {
    const all = [...(own ? [`"model":"${OK}"`] : []), '"messages":[]', ...members]
    return Buffer.from(`{${all.join(',')}}`, encoding)
  })
const JSON_JUNK = [
  '',
  '"',
  '\\',
  '{',
  '}',
  ',',
  ':',
  ' ',
  '\n',
  '\0',
  '\x0b',
  '\x0c',
  '\xa0',
  '\xef\xbb\xbf',
  '\xff',
  '\xc0\x80',
  '//',
  '/**/',
  'NaN',
  `"model":"${BAD}",`,
]
const jsonSent = fc.oneof(json, damaged(json, JSON_JUNK)).map((body): Sent => ({ type: 'application/json', body }))

const DISPOSITIONS = [
  'name="model"',
  'name=model',
  'name="Model"',
  'name="x"',
  'name="file"; filename="a"',
  'name="model"; filename="m"',
  "name*=utf-8''model",
  'name="x"; name="model"',
  'filename="a"; name="model"',
  'name="mod\\el"',
  'name="model" ',
  "name='model'",
]
const part = fc
  .tuple(
    fc.constantFrom('Content-Disposition', 'content-disposition', 'Content-Disposition ', 'X'),
    fc.constantFrom(...DISPOSITIONS),
    fc.constantFrom(OK, OK, BAD, `a\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n${BAD}`),
    fc.constantFrom('', '', '\r\nContent-Type: text/plain', '\r\nContent-Transfer-Encoding: base64', '\r\n folded'),
  )
  .map(([header, disposition, value, more]) => `--b\r\n${header}: form-data; ${disposition}${more}\r\n\r\n${value}\r\n`)
const good = `--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n${OK}\r\n`
const form = fc
  .tuple(fc.array(part, { maxLength: 2 }), fc.boolean(), fc.array(part, { maxLength: 1 }))
  .map(([before, own, after]) => Buffer.from(`${before.join('')}${own ? good : ''}${after.join('')}--b--\r\n`))
const FORM_JUNK = [
  '',
  '\r',
  '\n',
  '\r\n',
  '--b',
  '--b\r\n',
  '--b--',
  '--b--\r\n',
  ' ',
  '\t',
  '\0',
  '"',
  ';',
  ':',
  '\xff',
  good.replace(OK, BAD),
]
const TYPES = [
  'multipart/form-data; boundary=b',
  'multipart/form-data; boundary="b"',
  'Multipart/Form-Data;boundary=b',
  'multipart/form-data; boundary=b; charset=utf-8',
  'multipart/form-data; charset=utf-8; boundary=b',
  'multipart/form-data; boundary=b; boundary=c',
  'multipart/mixed; boundary=b',
  'multipart/form-data; boundary=b ',
]
const formSent = fc
  .tuple(fc.oneof(form, damaged(form, FORM_JUNK)), fc.constantFrom(...TYPES))
  .map(([body, type]): Sent => ({ type, body }))

/** Those of `sent` that the policy lets through. */
async function letThrough(path: string, grant: string, sent: readonly Sent[]): Promise<Sent[]> {
  const { instance } = setUp()
  const passed: Sent[] = []
  for (const { type, body } of sent) {
    const decision = await instance.decide(
      exchange({ path, body, headers: { 'content-type': type }, caller: granted(grant) }),
    )
    if (decision.type === 'pass') passed.push({ type, body })
  }
  return passed
}

function expectAll(models: readonly (readonly string[])[], sent: readonly Sent[], reader: string): void {
  for (const [at, found] of models.entries()) {
    const { type, body } = sent[at] as Sent
    expect(
      found.filter((model) => model !== OK),
      `${reader}: ${type} ${JSON.stringify(body.toString('latin1'))}`,
    ).toEqual([])
  }
}

function inPython(sent: readonly Sent[]): string[][] {
  const input = sent.map(({ type, body }) => `${JSON.stringify({ type, body: body.toString('hex') })}\n`).join('')
  const { status, stdout, stderr } = spawnSync('python3', ['-W', 'ignore', PYTHON], {
    input,
    encoding: 'utf8',
    maxBuffer: 1e9,
  })
  expect(status, stderr).toBe(0)
  const lines = stdout.trim().split('\n')
  expect(lines).toHaveLength(sent.length)
  return lines.map((line) => JSON.parse(line) as string[])
}

describe('what is let through names a granted model', () => {
  it.skipIf(pythonMissing)('to Python, as JSON', async () => {
    const passed = await letThrough('/v1/chat/completions', `llm:chat:${OK}`, fc.sample(jsonSent, RUNS))
    expect(passed.length).toBeGreaterThan(0)
    expectAll(inPython(passed), passed, 'json')
  })

  describe('as a form', () => {
    const sample = async () => {
      const passed = await letThrough('/v1/audio/transcriptions', `llm:audio:${OK}`, fc.sample(formSent, RUNS))
      expect(passed.length).toBeGreaterThan(0)
      return passed
    }

    it.skipIf(pythonMissing)('to Python', async () => {
      const passed = await sample()
      const found = inPython(passed)
      expectAll(found, passed, 'cgi, email')
      expect(found.flat().length).toBeGreaterThan(0)
    })

    it('to undici and formidable', async () => {
      const passed = await sample()
      const found = await Promise.all(
        passed.map(async (one) => [...(await inUndici(one)), ...(await inFormidable(one))]),
      )
      expectAll(found, passed, 'undici, formidable')
      expect(found.flat().length).toBeGreaterThan(0)
    })
  })
})

async function inUndici({ type, body }: Sent): Promise<string[]> {
  try {
    const fields = await new Response(new Uint8Array(body), { headers: { 'content-type': type } }).formData()
    return fields.getAll('model').map((value) => (typeof value === 'string' ? value : 'a file'))
  } catch {
    // It refuses what it cannot read, as an upstream would.
    return []
  }
}

interface Formidable {
  onPart: (part: EventEmitter & { readonly name: string | null }) => void
  parse(request: NodeJS.ReadableStream, done: (error: Error | null) => void): void
}
const { IncomingForm } = createRequire(import.meta.url)('formidable') as { IncomingForm: new () => Formidable }

function inFormidable({ type, body }: Sent): Promise<string[]> {
  return new Promise((resolve) => {
    const found: string[] = []
    const request = Object.assign(new PassThrough(), {
      headers: { 'content-type': type, 'content-length': String(body.length) },
    })
    const form = new IncomingForm()
    form.onPart = (field) => {
      const pieces: Buffer[] = []
      field.on('data', (piece: Buffer) => pieces.push(piece))
      field.on('end', () => {
        if (field.name?.trim() === 'model') found.push(Buffer.concat(pieces).toString())
      })
    }
    form.parse(request, () => resolve(found))
    request.end(body)
  })
}
