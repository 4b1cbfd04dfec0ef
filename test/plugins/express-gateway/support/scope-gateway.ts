/** A real Express Gateway that asks for a key and judges scopes, with and without `stripPath`. */

import { init } from '../../../../plugins/express-gateway/index.ts'
import type { NamedConfig } from '../../../conformance/gateway-form.ts'
import type { ScopeGateway, ScopeSetup } from '../../../conformance/scope.ts'
import { startGateway } from './gateway.ts'

const alone: ScopeForm = (config) => [{ name: 'llm-scope', config }]

export type ScopeForm = (scope: object) => readonly NamedConfig[]

/** @param form what judges; default: `llm-scope` alone */
export async function startScopeGateway(
  { upstreamUrl, scope, tags }: ScopeSetup,
  form: ScopeForm = alone,
): Promise<ScopeGateway> {
  const judges = form(scope)
  const steps = judges.map(({ name, config }) => ({ [name]: { action: config } }))
  const judged = [{ 'llm-key': null }, { 'key-auth': null }, ...steps]
  const gateway = await startGateway({
    plugin: init,
    consumers: [{ username: 'ada', tags }],
    config: {
      apiEndpoints: { strip: { host: '*', paths: '/strip/*' }, llm: { host: '*', paths: '/*' } },
      serviceEndpoints: { model: { url: upstreamUrl } },
      policies: ['llm-key', 'key-auth', ...judges.map(({ name }) => name), 'proxy'],
      pipelines: {
        strip: {
          apiEndpoints: ['strip'],
          policies: [...judged, { proxy: { action: { serviceEndpoint: 'model', stripPath: true } } }],
        },
        llm: { apiEndpoints: ['llm'], policies: [...judged, { proxy: { action: { serviceEndpoint: 'model' } } }] },
      },
    },
  })
  return { baseUrl: gateway.baseUrl, key: gateway.keys.ada ?? '', stop: () => gateway.stop() }
}
