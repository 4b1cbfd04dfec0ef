import { init } from '../../../plugins/express-gateway/index.ts'
import type { GatewaySetup, RunningGateway } from '../../conformance/gateway.ts'
import { asSingles, type Form, inOne, withTokenLimit } from '../../conformance/gateway-form.ts'
import { conformance } from '../../conformance/scenarios.ts'
import { startGateway } from './support/gateway.ts'
import { llmConfig } from './support/llm-config.ts'

/** @param form the policies under test, as steps of the pipeline */
function startWith(form: (tokenLimit: object) => readonly object[]): (setup: GatewaySetup) => Promise<RunningGateway> {
  return ({ tokenLimit, consumers, upstreamUrl, upstreamKey }) => {
    const headers = { authorization: `Bearer ${upstreamKey}` }
    const proxy = { proxy: { action: { serviceEndpoint: 'model', headers } } }
    const policies = [{ 'llm-key': null }, { 'key-auth': null }, ...form(tokenLimit), proxy]
    return startGateway({
      plugin: init,
      consumers: consumers.map(({ name, tags }) => ({ username: name, tags })),
      config: llmConfig({ upstreamUrl, tokenLimit, policies }),
    })
  }
}

const stepsOf = (form: Form) => (tokenLimit: object) =>
  form(withTokenLimit(tokenLimit)).map(({ name, config }) => ({ [name]: { action: config } }))

conformance({
  name: 'Express Gateway 1.16',
  start: startWith((tokenLimit) => [{ 'llm-token-limit': { action: tokenLimit } }]),
})

conformance({ name: 'Express Gateway 1.16 with the single policies', start: startWith(stepsOf(asSingles)) })

conformance({ name: 'Express Gateway 1.16 with llm-gateway', start: startWith(stepsOf(inOne)) })
