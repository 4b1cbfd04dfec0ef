/**
 * Attempts to reach a model or an operation that was not granted, and a few requests that must get through. Every gateway
 * runs the same table: see `scope.ts`.
 */

import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'

export interface ScopeCase {
  readonly what: string
  readonly method?: string
  /** Default chat completions. */
  readonly path?: string
  /** Header lines; `content-type: application/json` unless one of them says otherwise. */
  readonly headers?: readonly string[]
  readonly body?: string | Buffer
  readonly chunked?: true
  /** `refused`: never reaches the upstream. `judged`: if it does, then as something that was granted. */
  readonly expect: 'refused' | 'passes' | 'judged'
  /** `none`: the request carries no key. */
  readonly key?: 'none'
}

/** What the caller's tags grant. */
export const GRANTS = [
  'llm:chat:gpt-4o-mini',
  'llm:chat:claude-haiku-*',
  'llm:chat:gemini-2.0-flash',
  'llm:embeddings:text-embedding-3-small',
  'llm:images:dall-e-2',
  'llm:audio:whisper-1',
  'llm:batches:claude-haiku-4-5',
  'llm:models:read',
] as const

export const MAX_BODY_BYTES = 65_536

const MESSAGES = '"messages":[{"role":"user","content":"Hi"}]'
const OK = `{"model":"gpt-4o-mini",${MESSAGES},"max_tokens":5}`
const WANTED = `{"model":"gpt-5",${MESSAGES}}`

const refusedBodies: readonly (readonly [what: string, body: string])[] = [
  ['another model', WANTED],
  ['the model twice', `{"model":"gpt-4o-mini","model":"gpt-5",${MESSAGES}}`],
  ['the model twice, the other way round', `{"model":"gpt-5","model":"gpt-4o-mini",${MESSAGES}}`],
  ['the model twice, one escaped', `{"model":"gpt-4o-mini","\\u006dodel":"gpt-5",${MESSAGES}}`],
  ['the model twice, far apart', `{"model":"gpt-4o-mini",${MESSAGES},"user":"x","metadata":{},"model":"gpt-5"}`],
  ['Model beside model', `{"model":"gpt-4o-mini","Model":"gpt-5",${MESSAGES}}`],
  ['MODEL beside model', `{"model":"gpt-4o-mini","MODEL":"gpt-5",${MESSAGES}}`],
  ['only Model', `{"Model":"gpt-4o-mini",${MESSAGES}}`],
  ['models beside model', `{"model":"gpt-4o-mini","models":["gpt-5"],${MESSAGES}}`],
  ['Models beside model', `{"model":"gpt-4o-mini","Models":["gpt-5"],${MESSAGES}}`],
  ['models in a text', `{"model":"gpt-4o-mini","models":"gpt-5",${MESSAGES}}`],
  ['models with an object', `{"model":"gpt-4o-mini","models":[{"model":"gpt-5"}],${MESSAGES}}`],
  ['a fallback list', `{"model":"gpt-4o-mini","fallbacks":["gpt-5"],${MESSAGES}}`],
  ['a preset', `{"model":"gpt-4o-mini","preset":"mine",${MESSAGES}}`],
  ['an engine', `{"model":"gpt-4o-mini","engine":"gpt-5",${MESSAGES}}`],
  ['a deployment', `{"model":"gpt-4o-mini","deployment_id":"gpt-5",${MESSAGES}}`],
  ['another base URL', `{"model":"gpt-4o-mini","api_base":"http://x",${MESSAGES}}`],
  ['another provider', `{"model":"gpt-4o-mini","custom_llm_provider":"x",${MESSAGES}}`],
  ['a list of models of one’s own', `{"model":"gpt-4o-mini","model_list":[{"model_name":"x"}],${MESSAGES}}`],
  ['a tool with a model', `{"model":"gpt-4o-mini","tools":[{"type":"x","model":"gpt-5"}],${MESSAGES}}`],
  ['a plugin with a model', `{"model":"gpt-4o-mini","plugins":[{"id":"x","model":"gpt-5"}],${MESSAGES}}`],
  ['no model', `{${MESSAGES}}`],
  ['a model of null', `{"model":null,${MESSAGES}}`],
  ['an empty model', `{"model":"",${MESSAGES}}`],
  ['a model in a list', `{"model":["gpt-4o-mini"],${MESSAGES}}`],
  ['a model in an object', `{"model":{"id":"gpt-4o-mini"},${MESSAGES}}`],
  ['a model that is a number', `{"model":4,${MESSAGES}}`],
  ['a model that is true', `{"model":true,${MESSAGES}}`],
  ['a space before the model', `{"model":" gpt-4o-mini",${MESSAGES}}`],
  ['a space behind the model', `{"model":"gpt-4o-mini ",${MESSAGES}}`],
  ['a tab behind the model', `{"model":"gpt-4o-mini\\t",${MESSAGES}}`],
  ['a line break behind the model', `{"model":"gpt-4o-mini\\ngpt-5",${MESSAGES}}`],
  ['a NUL in the model', `{"model":"gpt-4o-mini\\u0000gpt-5",${MESSAGES}}`],
  ['a zero-width space in the model', `{"model":"gpt-4o-mini\\u200b",${MESSAGES}}`],
  ['a turned text direction', `{"model":"\\u202egpt-4o-mini",${MESSAGES}}`],
  ['a soft hyphen in the model', `{"model":"gpt-4o-\\u00admini",${MESSAGES}}`],
  ['a model in capitals', `{"model":"GPT-4O-MINI",${MESSAGES}}`],
  ['full-width letters', `{"model":"\\uff47pt-4o-mini",${MESSAGES}}`],
  ['a Cyrillic o', `{"model":"gpt-4\\u043e-mini",${MESSAGES}}`],
  ['a combining mark', `{"model":"gpt-4o-mini\\u0301",${MESSAGES}}`],
  ['a model with a path', `{"model":"gpt-4o-mini/../gpt-5",${MESSAGES}}`],
  ['a model with a vendor', `{"model":"openai/gpt-4o-mini",${MESSAGES}}`],
  ['a model with a suffix', `{"model":"gpt-4o-mini:online",${MESSAGES}}`],
  ['two models in one text', `{"model":"gpt-4o-mini,gpt-5",${MESSAGES}}`],
  ['a glob for a model', `{"model":"gpt-*",${MESSAGES}}`],
  ['a lone surrogate in the model', `{"model":"gpt-4o-mini\\ud800",${MESSAGES}}`],
  ['a model of 300 letters', `{"model":"${'g'.repeat(300)}",${MESSAGES}}`],
  ['a key of __proto__', `{"__proto__":{"model":"gpt-4o-mini"},${MESSAGES}}`],
  ['a list', `[${OK}]`],
  ['a text', `"${'x'}"`],
  ['null', 'null'],
  ['two documents', `${OK}${WANTED}`],
  ['two documents on two lines', `${OK}\n${WANTED}`],
  ['a comment', `{"model":"gpt-4o-mini",/*"model":"gpt-5",*/${MESSAGES}}`],
  ['a comment to the end of the line', `{"model":"gpt-4o-mini",//\n${MESSAGES}}`],
  ['single quotes', `{'model':'gpt-5',"model":"gpt-4o-mini",${MESSAGES}}`],
  ['a key without quotes', `{model:"gpt-5","model":"gpt-4o-mini",${MESSAGES}}`],
  ['a comma too many', `{"model":"gpt-4o-mini",${MESSAGES},}`],
  ['NaN', `{"model":"gpt-4o-mini","temperature":NaN,${MESSAGES}}`],
  ['a raw line break in a text', `{"model":"gpt-4o-mini\n",${MESSAGES}}`],
  ['cut off', OK.slice(0, -1)],
  ['nothing', ''],
  ['white space only', '   '],
  ['a thousand brackets', `{"model":"gpt-4o-mini",${MESSAGES},"x":${'['.repeat(1_000)}${']'.repeat(1_000)}}`],
  ['a form', 'model=gpt-4o-mini&messages=x'],
  // Within the glob of a grant, and still more than one model or another one.
  ['two models within a glob', `{"model":"claude-haiku-4-5,gpt-5",${MESSAGES}}`],
  ['two models within a glob, with a space', `{"model":"claude-haiku-4-5, gpt-5",${MESSAGES}}`],
  ['two models parted by a semicolon', `{"model":"claude-haiku-4-5;gpt-5",${MESSAGES}}`],
  ['a path out of a glob', `{"model":"claude-haiku-4-5/../gpt-5",${MESSAGES}}`],
  ['a path out of a glob, twice', `{"model":"claude-haiku-x/y/../../gpt-5",${MESSAGES}}`],
  ['a path that ends in dots', `{"model":"claude-haiku-4-5/..",${MESSAGES}}`],
  ['an encoded path out of a glob', `{"model":"claude-haiku-4-5/%2e%2e/gpt-5",${MESSAGES}}`],
  ['a path of backslashes', `{"model":"claude-haiku-4-5\\\\..\\\\gpt-5",${MESSAGES}}`],
  ['a model with a query', `{"model":"claude-haiku-4-5?model=gpt-5",${MESSAGES}}`],
  ['a model with a fragment', `{"model":"claude-haiku-4-5#gpt-5",${MESSAGES}}`],
  // What routers obey beside the model.
  ['an extra body', `{"model":"gpt-4o-mini","extra_body":{"model":"gpt-5"},${MESSAGES}}`],
  ['an extraBody', `{"model":"gpt-4o-mini","extraBody":{"model":"gpt-5"},${MESSAGES}}`],
  ['an Extra_Body', `{"model":"gpt-4o-mini","Extra_Body":{"model":"gpt-5"},${MESSAGES}}`],
  ['extra headers', `{"model":"gpt-4o-mini","extra_headers":{"azureml-model-deployment":"gpt-5"},${MESSAGES}}`],
  ['an extra query', `{"model":"gpt-4o-mini","extra_query":{"model":"gpt-5"},${MESSAGES}}`],
  ['headers in the body', `{"model":"gpt-4o-mini","headers":{"x-portkey-config":"c"},${MESSAGES}}`],
  ['a config', `{"model":"gpt-4o-mini","config":{"targets":[]},${MESSAGES}}`],
  ['a stored prompt of a router', `{"model":"gpt-4o-mini","prompt_id":"p-1",${MESSAGES}}`],
  ['settings of a router', `{"model":"gpt-4o-mini","router_settings_override":{"fallbacks":[]},${MESSAGES}}`],
  ['an alias of a group of models', `{"model":"gpt-4o-mini","model_group_alias":{"gpt-4o-mini":"gpt-5"},${MESSAGES}}`],
  ['a default fallback', `{"model":"gpt-4o-mini","default_fallbacks":["gpt-5"],${MESSAGES}}`],
  ['a fallback of an allowed model', `{"model":"gpt-4o-mini","fallbacks":[{"model":"gpt-4o-mini"}],${MESSAGES}}`],
  ['a fallback by name', `{"model":"gpt-4o-mini","fallbacks":[{"gpt-4o-mini":["gpt-5"]}],${MESSAGES}}`],
  [
    'a tool whose parameters have a model',
    `{"model":"gpt-4o-mini","tools":[{"parameters":{"model":"gpt-5"}}],${MESSAGES}}`,
  ],
  ['a plugin with models', `{"model":"gpt-4o-mini","plugins":[{"id":"x","allowed_models":["gpt-5"]}],${MESSAGES}}`],
  [
    'a data source with a deployment of its own',
    `{"model":"gpt-4o-mini","data_sources":[{"parameters":{"embedding_dependency":{"deployment_name":"gpt-5"}}}],${MESSAGES}}`,
  ],
  ['a long s in the key', `{"model":"gpt-4o-mini","model\\u017f":["gpt-5"],${MESSAGES}}`],
]

const BODIES: readonly ScopeCase[] = refusedBodies.map(([what, body]) => ({
  what: `body: ${what}`,
  body,
  expect: 'refused',
}))

const utf16 = (text: string) => Buffer.from(text, 'utf16le')
const utf16be = (text: string) => Buffer.from(utf16(text)).swap16()
const JSON_TYPE = 'content-type: application/json'

const ENCODINGS: readonly ScopeCase[] = (
  [
    ['gzip', gzipSync(WANTED), ['content-encoding: gzip']],
    ['gzip in capitals', gzipSync(WANTED), ['content-encoding: GZIP']],
    ['x-gzip', gzipSync(WANTED), ['content-encoding: x-gzip']],
    ['deflate', deflateSync(WANTED), ['content-encoding: deflate']],
    ['br', brotliCompressSync(WANTED), ['content-encoding: br']],
    ['gzip behind identity', gzipSync(WANTED), ['content-encoding: identity, gzip']],
    ['gzip in a second header', gzipSync(WANTED), ['content-encoding: identity', 'content-encoding: gzip']],
    ['an allowed body that is said to be gzip', OK, ['content-encoding: gzip']],
    ['an unknown encoding', OK, ['content-encoding: rot13']],
    ['gzip that nobody announces', gzipSync(WANTED), []],
    ['a byte order mark', `\ufeff${OK}`, []],
    ['a byte order mark and another model', `\ufeff${WANTED}`, []],
    ['UTF-16', utf16(WANTED), []],
    ['UTF-16 with a mark', Buffer.concat([Buffer.from([0xff, 0xfe]), utf16(WANTED)]), []],
    ['UTF-16 the other way round', utf16be(WANTED), []],
    ['UTF-16, announced', utf16(WANTED), [`${JSON_TYPE}; charset=utf-16`]],
    ['UTF-7, announced', OK, [`${JSON_TYPE}; charset=utf-7`]],
    ['Latin-1, announced', OK, [`${JSON_TYPE}; charset=iso-8859-1`]],
    ['two charsets', OK, [`${JSON_TYPE}; charset=utf-8; charset=utf-16`]],
    ['invalid UTF-8 in the model', Buffer.from(OK.replace('gpt-4o-mini', 'gpt-4o-mini\xff'), 'latin1'), []],
    ['invalid UTF-8 elsewhere', Buffer.from(OK.replace('Hi', 'H\xc3\x28'), 'latin1'), []],
    ['an overlong slash', Buffer.from(OK.replace('Hi', '\xc0\xaf'), 'latin1'), []],
    ['a NUL before the body', Buffer.concat([Buffer.from([0]), Buffer.from(OK)]), []],
    ['a content type of text', WANTED, ['content-type: text/plain']],
    ['a content type of a form', WANTED, ['content-type: application/x-www-form-urlencoded']],
    ['a content type of multipart', OK, ['content-type: multipart/form-data; boundary=x']],
    ['a content type of many documents', `${OK}\n${WANTED}`, ['content-type: application/x-ndjson']],
    ['two content types', OK, [`${JSON_TYPE}, text/plain`]],
    ['an empty content type', OK, ['content-type:']],
  ] as const
).map(([what, body, headers]) => ({ what: `encoding: ${what}`, body, headers, expect: 'refused' }))

/** `judged`: gateways clean some of these up before anybody sees them. */
const PATHS: readonly ScopeCase[] = (
  [
    ['/v1/chat%2Fcompletions', OK],
    ['/v1/chat%2fcompletions', OK],
    ['/v1%2Fchat/completions', OK],
    ['/v1/chat%252Fcompletions', OK],
    ['/v1/chat/completions%00', OK],
    ['/v1/chat/completions%20', OK],
    ['/v1/chat/completions%0a', OK],
    ['/v1/chat/completions;x=1', OK],
    ['/v1/chat;/completions', OK],
    ['/v1/chat/completions%3bx', OK],
    ['/v1/chat/completions/', OK],
    ['/v1/chat/completions.', OK],
    ['/v1/chat/completions..', OK],
    ['/v1/chat/completions/.', OK],
    ['/v1/chat/completions/..', OK],
    ['/v1/./chat/completions', OK],
    ['/v1//chat/completions', OK],
    ['//v1/chat/completions', OK],
    ['/v1\\chat\\completions', OK],
    ['/v1/chat%5ccompletions', OK],
    ['/V1/chat/completions', OK],
    ['/v1/Chat/Completions', OK],
    ['/v1/chat/completions?x=/../../v1/files', OK],
    ['/v1/chat/completions%3fx=1', OK],
    ['/v1/chat/completions%23x', OK],
    ['/v1/%63hat/completions', OK],
    ['/v1/c%68at/completions', WANTED],
    ['/v1/files/../chat/completions', OK],
    ['/v1/models/../chat/completions', WANTED],
    ['/v1/embeddings/../chat/completions', WANTED],
    ['/v1/chat/completions/../../files', OK],
    ['/v1/chat/completions/../../fine_tuning/jobs', '{"model":"gpt-4o-mini","training_file":"f"}'],
    ['/v1/chat/completions/%2e%2e/%2e%2e/files', OK],
    ['/v1/chat/completions/.%2e/.%2e/batches', OK],
    ['/v1/chat/completions/%252e%252e/%252e%252e/files', OK],
    ['/v1/chat/completions/..;/..;/files', OK],
    ['/v1/chat/completions%2f..%2f..%2ffiles', OK],
    ['/v1/files/%2e%2e/embeddings', '{"model":"text-embedding-3-large","input":"x"}'],
    ['/x/v1/chat/completions', OK],
    ['/v1/chat/completions/v1/files', OK],
    ['/v1/organization/admin_api_keys', '{"name":"x"}'],
    ['/v1/assistants', '{"model":"gpt-4o-mini"}'],
    ['/v1/threads/runs', '{"model":"gpt-4o-mini"}'],
    ['/v1/realtime/sessions', '{"model":"gpt-4o-mini"}'],
    ['/v1/responses', '{"model":"gpt-4o-mini","input":"x"}'],
    ['/v1/fine_tuning/jobs', '{"model":"gpt-4o-mini","training_file":"f"}'],
    ['/v1/files', OK],
    ['/v1/batches', '{"input_file_id":"f","endpoint":"/v1/chat/completions","model":"claude-haiku-4-5"}'],
    ['/strip/v1/files', OK],
    ['/strip/v1/chat/completions', WANTED],
    ['/strip/../v1/chat/completions', WANTED],
    ['/strip/..%2fv1/files', OK],
    ['/strip//v1/files', OK],
    ['/strip%2f..%2fv1/files', OK],
    ['/v1/strip/v1/chat/completions', OK],
    ['/v1/models/gpt-4o-mini', OK],
  ] as const
).map(([path, body]) => ({ what: `path: ${path}`, path, body, expect: 'judged' }))

const METHODS: readonly ScopeCase[] = [
  ...['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override'].flatMap((name): ScopeCase[] => [
    { what: `${name}: DELETE on POST`, headers: [`${name}: DELETE`], body: OK, expect: 'refused' },
    {
      what: `${name}: DELETE on GET`,
      method: 'GET',
      path: '/v1/models/gpt-5',
      headers: [`${name}: DELETE`],
      expect: 'refused',
    },
    { what: `${name}: POST, the same`, headers: [`${name}: post`], body: OK, expect: 'refused' },
  ]),
  ...['X_HTTP_Method_Override', 'x_http_method', 'X_Method_Override', 'X_Original_URL', 'X_Rewrite_URL'].map(
    (name): ScopeCase => ({ what: `${name}, underscores`, headers: [`${name}: DELETE`], body: OK, expect: 'refused' }),
  ),
  { what: '_method in the query', path: '/v1/chat/completions?_method=DELETE', body: OK, expect: 'refused' },
  { what: '$httpMethod in the query', path: '/v1/chat/completions?$httpMethod=DELETE', body: OK, expect: 'refused' },
  { what: '$httpHeaders, encoded', path: '/v1/chat/completions?%24httpHeaders=a%3Ab', body: OK, expect: 'refused' },
  { what: '_Method on GET', method: 'GET', path: '/v1/models/gpt-5?x=1&_Method=DELETE', expect: 'refused' },
  { what: 'X-Original-URL', headers: ['X-Original-URL: /v1/files'], body: OK, expect: 'refused' },
  { what: 'X-Rewrite-URL', headers: ['X-Rewrite-URL: /v1/files'], body: OK, expect: 'refused' },
  { what: 'an override header in odd case', headers: ['x-hTTp-mEthod-oVerride: DELETE'], body: OK, expect: 'refused' },
  { what: 'DELETE a model', method: 'DELETE', path: '/v1/models/gpt-5', expect: 'refused' },
  { what: 'DELETE a file', method: 'DELETE', path: '/v1/files/file-1', expect: 'refused' },
  { what: 'GET files', method: 'GET', path: '/v1/files', expect: 'refused' },
  { what: 'PUT', method: 'PUT', body: OK, expect: 'refused' },
  { what: 'PATCH', method: 'PATCH', body: OK, expect: 'refused' },
  { what: 'OPTIONS', method: 'OPTIONS', expect: 'refused' },
  { what: 'TRACE', method: 'TRACE', expect: 'refused' },
  { what: 'post in lower case', method: 'post', body: OK, expect: 'refused' },
  { what: 'an unknown method', method: 'CHAT', body: OK, expect: 'refused' },
  { what: 'GET with a body on chat', method: 'GET', body: OK, expect: 'refused' },
  {
    what: 'an upgrade',
    method: 'GET',
    path: '/v1/models',
    headers: ['connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 13', 'sec-websocket-key: eA=='],
    expect: 'refused',
  },
]

/** The query and the headers, by which some routers pick the model. */
const BESIDE: readonly ScopeCase[] = [
  ...(
    [
      'model=gpt-5',
      'x=1&model=gpt-5',
      'Model=gpt-5',
      '%6dodel=gpt-5',
      'model%5B%5D=gpt-5',
      'model[0]=gpt-5',
      'model',
      'models=gpt-5',
      'deployment_id=gpt-5',
      'engine=gpt-5',
      'api_base=http%3A%2F%2Fx',
      'model=gpt-4o-mini&model=gpt-5',
    ] as const
  ).map(
    (query): ScopeCase => ({
      what: `query: ${query}`,
      path: `/v1/chat/completions?${query}`,
      body: OK,
      expect: 'refused',
    }),
  ),
  // Kong's key-auth writes the query anew, and encodes the separators.
  ...['x;model=gpt-5', 'x?model=gpt-5'].map(
    (query): ScopeCase => ({
      what: `query: ${query}`,
      path: `/v1/chat/completions?${query}`,
      body: OK,
      expect: 'judged',
    }),
  ),
  {
    what: 'query: model on an Azure deployment',
    path: '/openai/deployments/gpt-4o-mini/chat/completions?api-version=1&model=gpt-5',
    body: OK,
    expect: 'refused',
  },
  {
    what: 'query: model on Gemini',
    path: '/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse&model=gemini-2.5-pro',
    body: '{"contents":[]}',
    expect: 'refused',
  },
  ...(
    [
      'azureml-model-deployment: gpt-5',
      'AzureML_Model_Deployment: gpt-5',
      'x-portkey-config: {"override_params":{"model":"gpt-5"}}',
      'x-portkey-provider: x',
      'x-portkey-virtual-key: x',
      'X-Portkey-Custom-Host: http://x',
      'x-portkey-azure-deployment-id: gpt-5',
      'Helicone-Fallbacks: [{"target-url":"http://x"}]',
      'Helicone-Target-URL: http://x',
      'Helicone-OpenAI-Api-Base: http://x',
    ] as const
  ).map((line): ScopeCase => ({ what: `header: ${line}`, headers: [line], body: OK, expect: 'refused' })),
  ...(
    [
      ['Content_Encoding: gzip', OK],
      ['Content_Type: text/plain', OK],
      ['content_type: multipart/form-data; boundary=b', OK],
    ] as const
  ).map(([line, body]): ScopeCase => ({ what: `header: ${line}`, headers: [line], body, expect: 'refused' })),
  {
    what: 'an image with a fallback',
    path: '/v1/images/generations',
    body: '{"model":"dall-e-2","fallbacks":["gpt-image-1"],"prompt":"x"}',
    expect: 'refused',
  },
  {
    what: 'an image without a model, and a tool with one',
    path: '/v1/images/generations',
    body: '{"tools":[{"type":"x","model":"dall-e-2"}],"prompt":"x"}',
    expect: 'refused',
  },
  {
    what: 'an image with an extra body',
    path: '/v1/images/generations',
    body: '{"model":"dall-e-2","extra_body":{"model":"gpt-image-1"},"prompt":"x"}',
    expect: 'refused',
  },
  {
    what: 'an embedding with a deployment',
    path: '/v1/embeddings',
    body: '{"model":"text-embedding-3-small","deployment_id":"text-embedding-3-large","input":"x"}',
    expect: 'refused',
  },
]

const CONTENTS = '{"contents":[{"parts":[{"text":"Hi"}]}]}'
const AZURE = '/openai/deployments'
const GEMINI = '/v1beta/models'

const IN_PATH: readonly ScopeCase[] = [
  {
    what: 'Azure: another deployment',
    path: `${AZURE}/gpt-5/chat/completions?api-version=1`,
    body: OK,
    expect: 'refused',
  },
  {
    what: 'Azure: another model in the body',
    path: `${AZURE}/gpt-4o-mini/chat/completions`,
    body: WANTED,
    expect: 'refused',
  },
  {
    what: 'Azure: a deployment in capitals',
    path: `${AZURE}/GPT-4o-mini/chat/completions`,
    body: `{${MESSAGES}}`,
    expect: 'refused',
  },
  {
    what: 'Azure: a deployment with a slash',
    path: `${AZURE}/gpt-4o-mini%2f..%2fgpt-5/chat/completions`,
    body: `{${MESSAGES}}`,
    expect: 'refused',
  },
  {
    what: 'Azure: a deployment behind dots',
    path: `${AZURE}/gpt-4o-mini/../gpt-5/chat/completions`,
    body: `{${MESSAGES}}`,
    expect: 'refused',
  },
  {
    what: 'Azure: an encoded deployment',
    path: `${AZURE}/gpt%2D4o-mini/chat/completions`,
    body: `{${MESSAGES}}`,
    expect: 'judged',
  },
  { what: 'Azure: an empty deployment', path: `${AZURE}//chat/completions`, body: OK, expect: 'judged' },
  {
    what: 'Azure: two deployments',
    path: `${AZURE}/gpt-4o-mini/deployments/gpt-5/chat/completions`,
    body: OK,
    expect: 'refused',
  },
  {
    what: 'Azure: images of a chat deployment',
    path: `${AZURE}/gpt-4o-mini/images/generations`,
    body: '{"prompt":"x"}',
    expect: 'refused',
  },
  {
    what: 'Azure: a deployment with a parameter',
    path: `${AZURE}/gpt-4o-mini;x/chat/completions`,
    body: `{${MESSAGES}}`,
    expect: 'refused',
  },
  {
    what: 'Gemini: another model',
    path: `${GEMINI}/gemini-2.5-pro:generateContent`,
    body: CONTENTS,
    expect: 'refused',
  },
  {
    what: 'Gemini: another model, streaming',
    path: `${GEMINI}/gemini-2.5-pro:streamGenerateContent?alt=sse`,
    body: CONTENTS,
    expect: 'refused',
  },
  {
    what: 'Gemini: another model in the body',
    path: `${GEMINI}/gemini-2.0-flash:generateContent`,
    body: `{"model":"models/gemini-2.5-pro",${CONTENTS.slice(1)}`,
    expect: 'refused',
  },
  {
    what: 'Gemini: Model in the body',
    path: `${GEMINI}/gemini-2.0-flash:generateContent`,
    body: `{"Model":"models/gemini-2.5-pro",${CONTENTS.slice(1)}`,
    expect: 'refused',
  },
  ...['GET', 'HEAD', 'DELETE'].map(
    (method): ScopeCase => ({
      what: `Gemini: a verb with ${method}`,
      method,
      path: `${GEMINI}/gemini-2.5-pro:streamGenerateContent`,
      body: CONTENTS,
      expect: 'refused',
    }),
  ),
  { what: 'Gemini: an unknown verb', path: `${GEMINI}/gemini-2.0-flash:tuneModel`, body: CONTENTS, expect: 'refused' },
  {
    what: 'Gemini: a batch',
    path: `${GEMINI}/gemini-2.0-flash:batchGenerateContent`,
    body: '{"batch":{}}',
    expect: 'refused',
  },
  {
    what: 'Gemini: a verb in other case',
    path: `${GEMINI}/gemini-2.0-flash:GenerateContent`,
    body: CONTENTS,
    expect: 'refused',
  },
  {
    what: 'Gemini: an encoded colon',
    path: `${GEMINI}/gemini-2.5-pro%3AgenerateContent`,
    body: CONTENTS,
    expect: 'refused',
  },
  {
    what: 'Gemini: two colons',
    path: `${GEMINI}/gemini-2.0-flash:x:generateContent`,
    body: CONTENTS,
    expect: 'refused',
  },
  {
    what: 'Gemini: two verbs',
    path: `${GEMINI}/gemini-2.5-pro:generateContent:generateContent`,
    body: CONTENTS,
    expect: 'refused',
  },
  {
    what: 'Gemini: a model behind a model',
    path: `${GEMINI}/gemini-2.0-flash/models/gemini-2.5-pro:generateContent`,
    body: CONTENTS,
    expect: 'refused',
  },
  {
    what: 'Gemini: a tuned model of an allowed name',
    path: '/v1beta/tunedModels/gemini-2.0-flash:generateContent',
    body: CONTENTS,
    expect: 'refused',
  },
  {
    what: 'Gemini: an endpoint of an allowed name',
    path: '/v1/projects/p/locations/l/endpoints/gemini-2.0-flash:generateContent',
    body: CONTENTS,
    expect: 'refused',
  },
  {
    what: 'Gemini: the path of embeddings',
    path: `${GEMINI}/gemini-2.0-flash:embedContent`,
    body: '{"content":{"parts":[{"text":"x"}]}}',
    expect: 'refused',
  },
  ...(
    [
      ['manual routing', '"generationConfig":{"routingConfig":{"manualMode":{"modelName":"gemini-2.5-pro"}}}'],
      [
        'manual routing, snake case',
        '"generation_config":{"routing_config":{"manual_mode":{"model_name":"gemini-2.5-pro"}}}',
      ],
      [
        'automatic routing',
        '"generationConfig":{"routingConfig":{"autoMode":{"modelRoutingPreference":"PRIORITIZE_QUALITY"}}}',
      ],
      ['a choice of models', '"generationConfig":{"modelConfig":{"featureSelectionPreference":"PRIORITIZE_QUALITY"}}'],
      [
        'a ranker',
        '"tools":[{"retrieval":{"vertexRagStore":{"ragRetrievalConfig":{"ranking":{"llmRanker":{"modelName":"gemini-2.5-pro"}}}}}}]',
      ],
      ['an extra body', '"extra_body":{"model":"gemini-2.5-pro"}'],
    ] as const
  ).map(
    ([what, member]): ScopeCase => ({
      what: `Gemini: ${what}`,
      path: `${GEMINI}/gemini-2.0-flash:generateContent`,
      body: `{${member},${CONTENTS.slice(1)}`,
      expect: 'refused',
    }),
  ),
  ...(
    [
      ['an extra body', '"extra_body":{"model":"claude-opus-4-5"}'],
      ['another base URL', '"api_base":"http://x"'],
      ['a fallback elsewhere', '"fallbacks":[{"model":"claude-haiku-4-5","api_base":"http://x"}]'],
      ['an advisor', '"tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-4-5"}]'],
      ['a tool with a model', '"tools":[{"type":"x","model":"claude-opus-4-5"}]'],
    ] as const
  ).map(
    ([what, member]): ScopeCase => ({
      what: `Anthropic: ${what}`,
      path: '/v1/messages',
      body: `{"model":"claude-haiku-4-5",${member},"max_tokens":5,${MESSAGES}}`,
      expect: 'refused',
    }),
  ),
  {
    what: 'Anthropic: an extra body in a batch',
    path: '/v1/messages/batches',
    body: '{"requests":[{"params":{"model":"claude-haiku-4-5","extra_body":{"model":"claude-opus-4-5"}}}]}',
    expect: 'refused',
  },
  { what: 'Anthropic: another model', path: '/v1/messages', body: WANTED, expect: 'refused' },
  {
    what: 'Anthropic: a fallback',
    path: '/v1/messages',
    body: `{"model":"claude-haiku-4-5","fallbacks":[{"model":"claude-opus-4-5"}],"max_tokens":5,${MESSAGES}}`,
    expect: 'refused',
  },
  {
    what: 'Anthropic: another model in a batch',
    path: '/v1/messages/batches',
    body: `{"requests":[{"params":{"model":"claude-haiku-4-5"}},{"params":{"model":"claude-opus-4-5"}}]}`,
    expect: 'refused',
  },
  {
    what: 'Anthropic: Model in a batch',
    path: '/v1/messages/batches',
    body: '{"requests":[{"params":{"model":"claude-haiku-4-5","Model":"claude-opus-4-5"}}]}',
    expect: 'refused',
  },
  {
    what: 'Anthropic: a batch without models',
    path: '/v1/messages/batches',
    body: '{"requests":[{"params":{}}]}',
    expect: 'refused',
  },
]

const FORM_PATH = '/v1/audio/transcriptions'
const disposition = (name: string, more = '') => `Content-Disposition: form-data; name="${name}"${more}`
const part = (lines: string, value: string) => `--b\r\n${lines}\r\n\r\n${value}\r\n`
const FILE = part(`${disposition('file', '; filename="a.wav"')}\r\nContent-Type: audio/wav`, 'RIFF')
const GOOD_PART = part(disposition('model'), 'whisper-1')
const EVIL_PART = part(disposition('model'), 'gpt-4o-transcribe')
const END = '--b--\r\n'

const FORMS: readonly ScopeCase[] = (
  [
    ['another model', FILE + EVIL_PART + END],
    ['no model', FILE + END],
    ['the model twice', FILE + GOOD_PART + EVIL_PART + END],
    ['the model twice, the other way round', EVIL_PART + FILE + GOOD_PART + END],
    ['the same model twice', GOOD_PART + GOOD_PART + END],
    ['Model beside model', GOOD_PART + part(disposition('Model'), 'gpt-4o-transcribe') + END],
    ['model[] beside model', GOOD_PART + part(disposition('model[]'), 'gpt-4o-transcribe') + END],
    ['model[0] alone', part(disposition('model[0]'), 'whisper-1') + END],
    ['the model as a file', part(disposition('model', '; filename="m"'), 'whisper-1') + END],
    ['a name with an escape', GOOD_PART + part(disposition('mod\\el'), 'gpt-4o-transcribe') + END],
    ['a name in percents', GOOD_PART + part(disposition('%6dodel'), 'gpt-4o-transcribe') + END],
    [
      'a name without quotes',
      GOOD_PART + part('Content-Disposition: form-data; name=model', 'gpt-4o-transcribe') + END,
    ],
    ['name*', GOOD_PART + part("Content-Disposition: form-data; name*=utf-8''model", 'gpt-4o-transcribe') + END],
    [
      'two names',
      part('Content-Disposition: form-data; name="x"; name="model"', 'gpt-4o-transcribe') + GOOD_PART + END,
    ],
    [
      'a name behind a filename',
      GOOD_PART + part('Content-Disposition: form-data; filename="x"; name="model"', 'gpt-4o-transcribe') + END,
    ],
    ['two dispositions', part(`${disposition('x')}\r\n${disposition('model')}`, 'gpt-4o-transcribe') + GOOD_PART + END],
    [
      'a folded header',
      GOOD_PART + part('Content-Disposition: form-data;\r\n name="model"', 'gpt-4o-transcribe') + END,
    ],
    ['no disposition', GOOD_PART + part('X: y', 'gpt-4o-transcribe') + END],
    ['an attachment', GOOD_PART + part('Content-Disposition: attachment; name="model"', 'gpt-4o-transcribe') + END],
    ['base64', part(`${disposition('model')}\r\nContent-Transfer-Encoding: base64`, 'd2hpc3Blci0x') + END],
    [
      'UTF-16 in the part',
      part(`${disposition('model')}\r\nContent-Type: text/plain; charset=utf-16`, 'whisper-1') + END,
    ],
    ['JSON in the part', part(`${disposition('model')}\r\nContent-Type: application/json`, '"whisper-1"') + END],
    ['something before the first part', `x\r\n${GOOD_PART}${END}`],
    ['a line break before the first part', `\r\n${GOOD_PART}${END}`],
    ['something behind the end', `${GOOD_PART}${END}${EVIL_PART}${END}`],
    ['no end', GOOD_PART],
    ['line feeds alone', (GOOD_PART + END).replaceAll('\r\n', '\n')],
    [
      'a boundary behind a line feed alone',
      `${part(disposition('file', '; filename="x"'), `x\n--b\n${disposition('model')}\n\ngpt-4o-transcribe`)}${GOOD_PART}${END}`,
    ],
    ['a boundary with a space behind', GOOD_PART + EVIL_PART.replace('--b\r\n', '--b \r\n') + END],
    ['a boundary that goes on', GOOD_PART + EVIL_PART.replace('--b\r\n', '--bc\r\n') + END],
    ['a boundary inside a file', `${part(disposition('file', '; filename="x"'), 'abc--bdef')}${GOOD_PART}${END}`],
    ['a model with a line break', part(disposition('model'), 'whisper-1\r\ngpt-5') + END],
    ['a model with a space behind', part(disposition('model'), 'whisper-1 ') + END],
    ['a model in capitals', part(disposition('model'), 'WHISPER-1') + END],
    ['an empty model', part(disposition('model'), '') + END],
    ['a fallback', GOOD_PART + part(disposition('fallbacks'), '["gpt-4o-transcribe"]') + END],
    ['a fallback[]', GOOD_PART + part(disposition('fallbacks[]'), 'gpt-4o-transcribe') + END],
    ['an extra body', GOOD_PART + part(disposition('extra_body[model]'), 'gpt-4o-transcribe') + END],
    ['a deployment', GOOD_PART + part(disposition('deployment_id'), 'gpt-4o-transcribe') + END],
    ['another base URL', part(disposition('api_base'), 'http://x') + GOOD_PART + END],
    ['two models in one text', part(disposition('model'), 'whisper-1,gpt-4o-transcribe') + END],
  ] as const
).map(([what, body]) => ({
  what: `form: ${what}`,
  path: FORM_PATH,
  headers: ['content-type: multipart/form-data; boundary=b'],
  body,
  expect: 'refused',
}))

const FORM_TYPES: readonly ScopeCase[] = (
  [
    ['two boundaries', 'multipart/form-data; boundary=b; boundary=c'],
    ['a boundary in another charset', "multipart/form-data; boundary*=utf-8''b"],
    ['no boundary', 'multipart/form-data'],
    ['an empty boundary', 'multipart/form-data; boundary=""'],
    ['a long boundary', `multipart/form-data; boundary=${'b'.repeat(80)}`],
    ['multipart/mixed', 'multipart/mixed; boundary=b'],
    ['an unknown parameter', 'multipart/form-data; x=y; boundary=b'],
  ] as const
).map(([what, type]) => ({
  what: `form type: ${what}`,
  path: FORM_PATH,
  headers: [`content-type: ${type}`],
  body: FILE + GOOD_PART + END,
  expect: 'refused',
}))

const many = (count: number) => Array.from({ length: count }, (_, at) => `x-h-${at}: v`)
const long = (size: number) => OK.replace('Hi', 'x'.repeat(size))

const FRAMING: readonly ScopeCase[] = [
  { what: 'chunked: another model', chunked: true, body: WANTED, expect: 'refused' },
  { what: 'chunked: too large', chunked: true, body: long(MAX_BODY_BYTES), expect: 'refused' },
  { what: 'too large', body: long(MAX_BODY_BYTES), expect: 'refused' },
  {
    what: 'another model behind 60 KB',
    body: `{${MESSAGES.replace('Hi', 'x'.repeat(60_000))},"model":"gpt-5"}`,
    expect: 'refused',
  },
  {
    what: 'a second model behind 60 KB',
    body: `{"model":"gpt-4o-mini",${MESSAGES.replace('Hi', 'x'.repeat(60_000))},"model":"gpt-5"}`,
    expect: 'refused',
  },
  { what: '110 headers', headers: [...many(110)], body: WANTED, expect: 'refused' },
  {
    what: '110 headers, gzip last',
    headers: [...many(110), 'content-encoding: gzip'],
    body: gzipSync(WANTED),
    expect: 'refused',
  },
  {
    what: '110 headers, an override last',
    headers: [...many(110), 'x-http-method-override: DELETE'],
    body: OK,
    expect: 'refused',
  },
  { what: 'a length and chunks', headers: ['content-length: 5'], chunked: true, body: WANTED, expect: 'refused' },
  { what: 'two lengths', headers: ['content-length: 3'], body: WANTED, expect: 'refused' },
  { what: 'an unknown transfer encoding', headers: ['transfer-encoding: gzip'], body: WANTED, expect: 'refused' },
]

const IDENTITY: readonly ScopeCase[] = [
  { what: 'no key', key: 'none', body: OK, expect: 'refused' },
  {
    what: 'no key, groups in a header',
    key: 'none',
    headers: ['x-consumer-groups: admin', 'x-authenticated-groups: admin'],
    body: OK,
    expect: 'refused',
  },
  {
    what: 'no key, a consumer in a header',
    key: 'none',
    headers: ['x-consumer-username: ada', 'eg-consumer-id: ada'],
    body: OK,
    expect: 'refused',
  },
  {
    what: 'groups in a header',
    headers: ['x-consumer-groups: admin', 'x-authenticated-groups: admin'],
    body: WANTED,
    expect: 'refused',
  },
  {
    what: 'scopes in a header',
    headers: ['x-scopes: llm:*', 'x-authenticated-scope: llm:*'],
    body: WANTED,
    expect: 'refused',
  },
  {
    what: 'tags in a header',
    headers: ['x-consumer-tags: llm:*', 'x-credential-identifier: x'],
    body: WANTED,
    expect: 'refused',
  },
  {
    what: 'an unsigned token',
    key: 'none',
    headers: ['authorization: Bearer eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImxsbToqIn0.'],
    body: OK,
    expect: 'refused',
  },
  { what: 'a key that is none', key: 'none', headers: ['authorization: Bearer nothing'], body: OK, expect: 'refused' },
]

const PASSING: readonly ScopeCase[] = [
  { what: 'chat', body: OK, expect: 'passes' },
  { what: 'chat, chunked', chunked: true, body: OK, expect: 'passes' },
  { what: 'chat, stream', body: OK.replace('{', '{"stream":true,'), expect: 'passes' },
  { what: 'chat, stream: "true"', body: OK.replace('{', '{"stream":"true",'), expect: 'refused' },
  { what: 'chat, stream: 1', body: OK.replace('{', '{"stream":1,'), expect: 'refused' },
  { what: 'chat, Stream', body: OK.replace('{', '{"Stream":true,'), expect: 'refused' },
  { what: 'chat, charset', headers: [`${JSON_TYPE}; charset=utf-8`], body: OK, expect: 'passes' },
  { what: 'chat, 60 KB', body: long(60_000), expect: 'passes' },
  { what: 'chat, an escaped model', body: OK.replace('gpt-4o', 'gpt\\u002d4o'), expect: 'passes' },
  {
    what: 'chat, models within the grant',
    body: OK.replace('{', '{"models":["gpt-4o-mini","claude-haiku-4-5"],'),
    expect: 'passes',
  },
  {
    what: 'chat, a function with a Model of its own',
    body: `{"model":"gpt-4o-mini","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"model":{"type":"string"},"Model":{"type":"string"}}}}}],${MESSAGES}}`,
    expect: 'passes',
  },
  {
    what: 'messages, a tool with a Model of its own',
    path: '/v1/messages',
    body: `{"model":"claude-haiku-4-5","tools":[{"name":"f","input_schema":{"type":"object","properties":{"Model":{"enum":["x"]}}}}],"max_tokens":5,${MESSAGES}}`,
    expect: 'passes',
  },
  {
    what: 'messages, a fallback within the grant',
    path: '/v1/messages',
    body: `{"model":"claude-haiku-4-5","fallbacks":[{"model":"claude-haiku-3"}],"max_tokens":5,${MESSAGES}}`,
    expect: 'passes',
  },
  { what: 'chat behind a stripped path', path: '/strip/v1/chat/completions', body: OK, expect: 'passes' },
  { what: 'chat with a query', path: '/v1/chat/completions?user=a%2Fb', body: OK, expect: 'passes' },
  {
    what: 'messages',
    path: '/v1/messages',
    body: `{"model":"claude-haiku-4-5","max_tokens":5,${MESSAGES}}`,
    expect: 'passes',
  },
  {
    what: 'a batch of messages',
    path: '/v1/messages/batches',
    body: '{"requests":[{"params":{"model":"claude-haiku-4-5"}}]}',
    expect: 'passes',
  },
  {
    what: 'Azure',
    path: `${AZURE}/gpt-4o-mini/chat/completions?api-version=2024-10-21`,
    body: `{${MESSAGES}}`,
    expect: 'passes',
  },
  { what: 'Gemini', path: `${GEMINI}/gemini-2.0-flash:generateContent`, body: CONTENTS, expect: 'passes' },
  {
    what: 'Gemini, streaming',
    path: `${GEMINI}/gemini-2.0-flash:streamGenerateContent?alt=sse`,
    body: CONTENTS,
    expect: 'passes',
  },
  {
    what: 'embeddings',
    path: '/v1/embeddings',
    body: '{"model":"text-embedding-3-small","input":"x"}',
    expect: 'passes',
  },
  { what: 'an image', path: '/v1/images/generations', body: '{"model":"dall-e-2","prompt":"x"}', expect: 'passes' },
  {
    what: 'a form',
    path: FORM_PATH,
    headers: ['content-type: multipart/form-data; boundary=b'],
    body: FILE + GOOD_PART + END,
    expect: 'passes',
  },
  {
    what: 'a form, quoted boundary',
    path: FORM_PATH,
    headers: ['content-type: multipart/form-data; boundary="b"'],
    body: GOOD_PART + FILE + END,
    expect: 'passes',
  },
  { what: 'the list of models', method: 'GET', path: '/v1/models', expect: 'passes' },
  { what: 'one model', method: 'GET', path: '/v1/models/gpt-5', expect: 'passes' },
]

export const SCOPE_CASES: readonly ScopeCase[] = [
  ...BODIES,
  ...ENCODINGS,
  ...PATHS,
  ...METHODS,
  ...BESIDE,
  ...IN_PATH,
  ...FORMS,
  ...FORM_TYPES,
  ...FRAMING,
  ...IDENTITY,
  ...PASSING,
]
