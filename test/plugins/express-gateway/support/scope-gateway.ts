/** A real Express Gateway that asks for a key and judges scopes, with and without `stripPath`. */

import { init } from '../../../../plugins/express-gateway/index.ts'
import type { ScopeGateway, ScopeSetup } from '../../../conformance/scope.ts'
import { startGateway } from './gateway.ts'

export async function startScopeGateway({ upstreamUrl, scope, tags }: ScopeSetup): Promise<ScopeGateway> {
  const judged = [{ 'llm-key': null }, { 'key-auth': null }, { 'llm-scope': { action: scope } }]
  const gateway = await startGateway({
    plugin: init,
    consumers: [{ username: 'ada', tags }],
    config: {
      apiEndpoints: { strip: { host: '*', paths: '/strip/*' }, llm: { host: '*', paths: '/*' } },
      serviceEndpoints: { model: { url: upstreamUrl } },
      policies: ['llm-key', 'key-auth', 'llm-scope', 'proxy'],
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
