/** Random requests through a real gateway, judged on what its upstream received. */

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Model, startModel } from '../support/model/index.ts'
import { describeReceived, exchange, type ScopeGateway, type ScopeSetup } from './scope.ts'
import { GRANTS, MAX_BODY_BYTES, type ScopeCase } from './scope-cases.ts'
import { trespasses } from './scope-oracle.ts'

/** More with `FUZZ_RUNS`, to look for new ways. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 300)

const MESSAGES = '"messages":[{"role":"user","content":"Hi"}]'
const ALLOWED = `{"model":"gpt-4o-mini",${MESSAGES}}`

/** Paths that are granted, and ones that are not, to be put together anew. */
const PATHS = [
  '/v1/chat/completions',
  '/v1/messages',
  '/v1/embeddings',
  '/v1/files',
  '/v1/batches',
  '/v1/fine_tuning/jobs',
  '/v1/models/gpt-5',
  '/openai/deployments/gpt-4o-mini/chat/completions',
  '/openai/deployments/gpt-5/chat/completions',
  '/v1beta/models/gemini-2.0-flash:generateContent',
  '/v1beta/models/gemini-2.5-pro:streamGenerateContent',
  '/strip/v1/chat/completions',
  '/strip/v1/files',
] as const
const TRICKS =
  String.raw`/ // /./ /../ /..;/ .. . ; ;x=1 %2e %2e%2e %2f %5c \ %25 %252e %00 %20 %09 ? ?? # %23 %3f & = :
  %3a @ , * ~ { } | ^ " ' < %c0%ae %u002e é + model=gpt-5 ?model=gpt-5 &model=gpt-5 ?_method=DELETE files v1 chat gpt-5
  http://host strip`.split(/\s+/)

const path = fc
  .tuple(
    fc.constantFrom(...PATHS),
    fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(...TRICKS), fc.nat(3)), {
      minLength: 1,
      maxLength: 4,
    }),
    fc.option(fc.constantFrom(...PATHS)),
  )
  .map(([base, tricks, more]) =>
    tricks.reduce(
      (text, [where, trick, eaten]) => {
        const at = 1 + Math.floor(where * text.length)
        return text.slice(0, at) + trick + text.slice(at + eaten)
      },
      base + (more ?? ''),
    ),
  )

const MEMBERS = String.raw`"model":"gpt-4o-mini"
"model":"gpt-5"
"Model":"gpt-5"
"model" :"claude-haiku-4-5"
"mod\u0065l":"gpt-5"
"models":["gpt-5"]
"extra_body":{"model":"gpt-5"}
"x":{"model":"gpt-4o-mini"}
"tools":[{"model":"gpt-5"}]
"model":"claude-haiku-4-5,gpt-5"
"model":"claude-haiku-/../gpt-5"
"stream":true
"contents":[]
"input":"x"
"max_tokens":5`.split('\n')
const JUNK = String.raw`" \ { } , : [ ] /* */ \u0000 é`.split(' ').concat('', ' ', '\n', '\u0000', '\ufeff')
const body = fc
  .tuple(
    fc.array(fc.constantFrom(...MEMBERS, MESSAGES), { minLength: 1, maxLength: 5 }),
    fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(...JUNK), fc.nat(1)), {
      maxLength: 2,
    }),
  )
  .map(([members, junk]) =>
    junk.reduce(
      (text, [where, what, eaten]) => {
        const at = Math.floor(where * text.length)
        return text.slice(0, at) + what + text.slice(at + eaten)
      },
      `{${members.join(',')}}`,
    ),
  )

const HEADERS = `content-encoding: gzip
content-encoding: identity
Content_Type: text/plain
content-type: application/json
content-type: text/plain
content-type: application/json; charset=utf-16
content-type: application/vnd.x+json
x-http-method-override: DELETE
X_HTTP_Method: GET
x-original-url: /v1/files
azureml_model_deployment: gpt-5
expect: 100-continue
upgrade: h2c
connection: close, upgrade
connection: close, x-original-url
x: y`.split('\n')

const request: fc.Arbitrary<ScopeCase> = fc.record(
  {
    what: fc.constant('random'),
    expect: fc.constant<'judged'>('judged'),
    method: fc.constantFrom('POST', 'POST', 'POST', 'GET', 'DELETE', 'PUT', 'HEAD', 'OPTIONS', 'post', 'PATCH'),
    path: fc.oneof(path, fc.constantFrom(...PATHS)),
    body: fc.oneof(body, fc.constant(ALLOWED)),
    chunked: fc.constant<true>(true),
    headers: fc.oneof(fc.constant<string[]>([]), fc.array(fc.constantFrom(...HEADERS), { maxLength: 2 })),
  },
  { requiredKeys: ['what', 'expect', 'path', 'body', 'headers'] },
)

export function scopeRandom(name: string, start: (setup: ScopeSetup) => Promise<ScopeGateway>): void {
  describe(`random requests through ${name}`, () => {
    let model: Model
    let gateway: ScopeGateway

    beforeAll(async () => {
      model = await startModel()
      gateway = await start({
        upstreamUrl: model.url,
        scope: { max_body_bytes: MAX_BODY_BYTES },
        tags: GRANTS,
      })
    })
    afterAll(async () => {
      await gateway?.stop()
      await model?.close()
    })

    it('reach nothing that was not granted', async () => {
      let reached = 0
      await fc.assert(
        fc.asyncProperty(request, async (asked) => {
          const before = model.requests.length
          const reply = await exchange(gateway, asked)
          const received = model.requests.splice(before)
          reached += received.length
          for (const one of received) expect(trespasses(one), describeReceived(one)).toEqual([])
          expect(reply.status === 500 || reply.text.includes('    at '), reply.text).toBe(false)
        }),
        { numRuns: RUNS },
      )
      expect(reached, 'some are let through, or nothing was tested').toBeGreaterThan(0)
    })
  })
}
