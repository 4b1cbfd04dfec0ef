/** In which order Kong 3.9 runs plugins in `access`: the bundled ones (from their handlers) and the pack's. Higher runs first. */

export const PRIORITIES: Readonly<Record<string, number>> = {
  'pre-function': 1_000_000,
  'correlation-id': 100_001,
  zipkin: 100_000,
  'bot-detection': 2500,
  cors: 2000,
  session: 1900,
  acme: 1705,
  jwt: 1450,
  oauth2: 1400,
  'llm-key': 1260,
  'key-auth': 1250,
  'ldap-auth': 1200,
  'basic-auth': 1100,
  'hmac-auth': 1030,
  'grpc-gateway': 998,
  'ip-restriction': 990,
  'request-size-limiting': 951,
  acl: 950,
  'llm-edge': 949,
  'llm-audit-log': 948,
  'llm-api-key': 945,
  'llm-scope': 940,
  'llm-gateway': 940,
  'rate-limiting': 910,
  'llm-token-limit': 905,
  'llm-guard': 904,
  'llm-upstream': 903,
  'response-ratelimiting': 900,
  'request-transformer': 801,
  'response-transformer': 800,
  redirect: 779,
  'ai-request-transformer': 777,
  'ai-prompt-template': 773,
  'ai-prompt-decorator': 772,
  'ai-prompt-guard': 771,
  'ai-proxy': 770,
  'ai-response-transformer': 768,
  'standard-webhooks': 760,
  'aws-lambda': 750,
  'azure-functions': 749,
  'proxy-cache': 100,
  opentelemetry: 14,
  prometheus: 13,
  'http-log': 12,
  statsd: 11,
  datadog: 10,
  'file-log': 9,
  'udp-log': 8,
  'tcp-log': 7,
  loggly: 6,
  syslog: 4,
  'grpc-web': 3,
  'request-termination': 2,
  'post-function': -1000,
}

/** Plugins that find out who calls. */
export const AUTH_PLUGINS = [
  'key-auth',
  'jwt',
  'basic-auth',
  'hmac-auth',
  'ldap-auth',
  'oauth2',
  'openid-connect',
  'mtls-auth',
  'session',
  // Of Kong Enterprise, as openid-connect and mtls-auth.
  'key-auth-enc',
  'ldap-auth-advanced',
  'oauth2-introspection',
  'header-cert-auth',
  'vault-auth',
  'saml',
] as const

/** Plugins of the pack without whose decision no request may pass. */
export const DECIDING = ['llm-gateway', 'llm-audit-log', 'llm-api-key', 'llm-scope', 'llm-token-limit'] as const

/** Every plugin of the pack. */
export const PACK = [...DECIDING, 'llm-key', 'llm-edge', 'llm-guard', 'llm-upstream'] as const

/** Plugins that write Kong's own log line somewhere. */
export const LOGGERS = ['http-log', 'file-log', 'tcp-log', 'udp-log', 'syslog', 'loggly', 'kafka-log'] as const

/** Plugins that change what was asked for, after llm-scope judged it. */
export const EDITORS = [
  'ai-request-transformer',
  'ai-prompt-template',
  'ai-prompt-decorator',
  'ai-proxy',
  'post-function',
  // Of Kong Enterprise.
  'route-transformer-advanced',
  'jq',
  'ai-proxy-advanced',
  'ai-rag-injector',
  'ai-prompt-compressor',
  'ai-sanitizer',
] as const

/** Plugins that change what their config says, which may be no more than a credential; the second of Kong Enterprise. */
export const TRANSFORMERS = ['request-transformer', 'request-transformer-advanced'] as const

/** Plugins that answer from earlier answers; the second of Kong Enterprise. */
export const CACHES = ['proxy-cache', 'proxy-cache-advanced'] as const

/** Plugins of a consumer that make a difference to any rule. */
export const TELLING: ReadonlySet<string> = new Set([
  ...PACK,
  ...LOGGERS,
  ...EDITORS,
  ...TRANSFORMERS,
  ...CACHES,
  'opentelemetry',
  'zipkin',
  'ai-response-transformer',
])
