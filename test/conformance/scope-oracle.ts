/**
 * What an upstream could make of a request that it received, read as leniently as the most careless server would. Written
 * apart from the pack's own readers, which it judges.
 */

import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib'
import type { Received } from '../support/model/index.ts'

/** Paths and methods that the caller of the cases may reach, with the models that may answer there. */
export const MAY: readonly (readonly [request: RegExp, models: RegExp])[] = [
  [
    /^POST (?:\/v1|\/openai|\/openai\/v1)?\/(?:chat\/)?completions$/,
    /^(?:gpt-4o-mini|claude-haiku-.*|gemini-2\.0-flash)$/,
  ],
  [/^POST \/openai\/deployments\/gpt-4o-mini\/chat\/completions$/, /^gpt-4o-mini$/],
  [/^POST \/v1\/messages(?:\/count_tokens)?$/, /^(?:gpt-4o-mini|claude-haiku-.*|gemini-2\.0-flash)$/],
  [/^POST \/v1\/messages\/batches$/, /^claude-haiku-4-5$/],
  [/^POST \/v1beta\/models\/gemini-2\.0-flash:(?:stream)?generatecontent$/, /^(?:models\/)?gemini-2\.0-flash$/],
  [/^POST (?:\/v1)?\/embeddings$/, /^text-embedding-3-small$/],
  [/^POST \/v1\/images\/(?:generations|edits)$/, /^dall-e-2$/],
  [/^POST \/v1\/audio\/(?:transcriptions|translations)$/, /^whisper-1$/],
  [/^(?:GET|HEAD) (?:\/v1(?:beta)?)?\/models(?:\/[a-z0-9.-]+){0,2}$/, /^/],
]

/** Everything about a received request that the caller may not have; empty when all of it is allowed. */
export function trespasses(received: Received): string[] {
  const found: string[] = []
  const requests = methodsOf(received).flatMap((method) => pathsOf(received).map((path) => `${method} ${path}`))
  const models = modelsOf(received)
  for (const request of requests) {
    const rule = MAY.find(([pattern]) => pattern.test(request))
    if (rule === undefined) found.push(request)
    else found.push(...models.filter((model) => !rule[1].test(model)).map((model) => `${request} with ${model}`))
  }
  return found
}

const OVERRIDES = ['x-http-method-override', 'x-http-method', 'x-method-override']

/** As WSGI names headers: dashes and underscores are one. */
function headersOf({ headers }: Received): ReadonlyMap<string, string> {
  return new Map(Object.entries(headers).map(([name, value]) => [name.replaceAll('_', '-'), String(value)]))
}

function methodsOf(received: Received): string[] {
  const headers = headersOf(received)
  const asked = [...parametersOf(received)]
    .filter(([name]) => name.toLowerCase() === '_method')
    .map(([, value]) => value)
  return [received.method, ...OVERRIDES.flatMap((name) => headers.get(name) ?? []), ...asked].map((name) =>
    name.toUpperCase(),
  )
}

function parametersOf({ url }: Received): URLSearchParams {
  return new URLSearchParams(url.split('?').slice(1).join('&').replaceAll(';', '&'))
}

function pathsOf(received: Received): string[] {
  const headers = headersOf(received)
  const written = [received.url, headers.get('x-original-url'), headers.get('x-rewrite-url')].filter(
    (one) => one !== undefined,
  )
  return [...new Set(written.map((one) => normalise(one.split('?', 1)[0] ?? '')))]
}

function normalise(path: string): string {
  let text = path
  for (let round = 0; round < 3; round++)
    text = text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)))
  const steps: string[] = []
  for (const step of text.replaceAll('\\', '/').toLowerCase().split('/')) {
    const plain =
      step
        .split(';', 1)[0]
        ?.replace(/[\s\0]+$/g, '')
        .replace(/\.+$/, (dots) => (step === dots ? dots : '')) ?? ''
    if (plain === '..') steps.pop()
    else if (plain !== '' && plain !== '.') steps.push(plain)
  }
  return `/${steps.join('/')}`
}

function modelsOf(received: Received): string[] {
  const found = new Set<string>()
  for (const text of textsOf(received)) {
    for (const [, key = '', value = ''] of text.matchAll(/"((?:[^"\\]|\\.)*)"\s*:\s*"((?:[^"\\]|\\.)*)"/g))
      if (isModel(unescaped(key))) found.add(unescaped(value))
    for (const [, list = ''] of text.matchAll(/"models"\s*:\s*\[([^\]]*)\]/gi))
      for (const [, value = ''] of list.matchAll(/"((?:[^"\\]|\\.)*)"/g)) found.add(unescaped(value))
    for (const [, name = '', value = ''] of text.matchAll(
      /name\*?=(?:utf-8'')?"?([^"\r\n;]*)"?[\s\S]*?\r?\n\r?\n([^\r\n]*)/gi,
    ))
      if (isModel(decodeURIComponent(name.replace(/\\/g, '').replace(/\[.*$/, '')))) found.add(value)
  }
  for (const [key, value] of parametersOf(received)) if (isModel(key)) found.add(value)
  const deployment = headersOf(received).get('azureml-model-deployment')
  if (deployment !== undefined) found.add(deployment)
  return [...found].flatMap(partsOf)
}

/** As Go's encoding/json and the most tolerant of its kind would; and as tools and routers name theirs. */
function isModel(key: string): boolean {
  const plain = key.normalize('NFKC').trim().toLowerCase().replace(/\[.*$/, '').replaceAll('_', '')
  return ['model', 'models', 'modelname', 'deploymentname', 'deploymentid', 'engine'].includes(plain)
}

/** A router tries each of a list; a client that puts the name into a URL reaches what the path then says. */
function partsOf(model: string): string[] {
  return model
    .split(',')
    .map((one) => one.trim())
    .flatMap((one) => {
      const { pathname } = new URL(`http://host/m/${one}`)
      return [one, decodeURIComponent(pathname.replace(/^\/m\//, ''))]
    })
}

function unescaped(text: string): string {
  try {
    return JSON.parse(`"${text}"`) as string
  } catch {
    return text
  }
}

/** The body in every encoding that a server might try. */
function textsOf({ body }: Received): string[] {
  const unpacked = [gunzipSync, inflateSync, brotliDecompressSync].flatMap((unpack) => {
    try {
      return [unpack(body)]
    } catch {
      return []
    }
  })
  return [body, ...unpacked].flatMap((bytes) => [
    bytes.toString('utf8'),
    bytes.toString('utf16le'),
    Buffer.from(bytes.subarray(0, bytes.length - (bytes.length % 2)))
      .swap16()
      .toString('utf16le'),
    bytes.toString('latin1').replaceAll('\0', ''),
  ])
}
