/** The configs of `llm-gateway` with which its scenarios must come out as those of the single policies do. */

/** Every policy that such scenarios do not ask about lets them pass, but judges them all the same. */
export function withTokenLimit(tokenLimit: object): object {
  return { ...AROUND, token_limit: tokenLimit }
}

export function withScope(scope: object): object {
  return { ...AROUND, scope }
}

/** The same policies as plugins of their own. */
export function singlesWithTokenLimit(
  tokenLimit: object,
): readonly { readonly name: string; readonly config: object }[] {
  return [
    { name: 'llm-audit-log', config: AROUND.audit },
    { name: 'llm-api-key', config: AROUND.api_key },
    { name: 'llm-token-limit', config: tokenLimit },
  ]
}

const AROUND = {
  audit: { sinks: [{ type: 'stdout' }], content: 'redacted', redaction: {}, only_on: ['would_reject'] },
  api_key: { rotation: { on_unknown_age: 'allow' } },
} as const
