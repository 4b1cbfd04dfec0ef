import { expect, it, onTestFinished } from 'vitest'
import { createPolicyMetrics } from '../../../plugins/metrics/index.ts'
import { createAuditFile } from './support/audit.ts'
import { ask, CHAT, PROXY, setStage } from './support/stage.ts'

it('measures what its policies decide, hold and settle, by consumer', async () => {
  const metrics = createPolicyMetrics()
  onTestFinished(() => metrics.close())
  const audit = createAuditFile({})
  const limits = [{ name: 'hourly', limit: 2_000, window_seconds: 3_600 }]
  const stage = await setStage({
    policies: [
      { 'llm-key': null },
      { 'key-auth': null },
      audit.step,
      { 'llm-api-key': { action: { rotation: { on_unknown_age: 'allow' } } } },
      { 'llm-token-limit': { action: { limits } } },
      PROXY,
    ],
  })
  expect((await ask(stage, { body: CHAT })).status).toBe(200)
  expect((await ask(stage, { body: { ...CHAT, max_tokens: 20_000 } })).status).toBe(429)
  await audit.records(2)
  const text = await metrics.render()
  for (const line of [
    'portcullis_decisions_total{policy="llm-token-limit",decision="pass",code="",would_reject=""} 1',
    'portcullis_refusals_total{policy="llm-token-limit",code="request_exceeds_limit",mode="enforce",rule="hourly"} 1',
    'portcullis_settlements_total{policy="llm-token-limit",ended="complete",usage="reported"} 1',
    'portcullis_limit{caller="ada",rule="hourly",unit="total_tokens"} 2000',
    'portcullis_audit_sink_up{sink="audit.file"} 1',
    'portcullis_audit_dropped_total{sink="audit.file"} 0',
  ])
    expect(text).toContain(line)
  expect(text).toMatch(/portcullis_caller_tokens_total\{caller="ada",kind="settled"\} [1-9]/)
  expect(metrics.contentType).toMatch(/^text\/plain/)
})
