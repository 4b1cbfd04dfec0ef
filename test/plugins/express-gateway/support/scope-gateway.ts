/** A real Express Gateway that asks for a key and judges scopes, with and without `stripPath`. */

import { init } from '../../../../plugins/express-gateway/index.ts'
import { withScope } from '../../../conformance/gateway-form.ts'
import type { ScopeGateway, ScopeSetup } from '../../../conformance/scope.ts'
import { startGateway } from './gateway.ts'

/** @param inOne whether `llm-gateway` judges, with keys and an audit log around the scopes */
export async function startScopeGateway(
  { upstreamUrl, scope, tags }: ScopeSetup,
  inOne = false,
): Promise<ScopeGateway> {
  const judge = inOne ? { 'llm-gateway': { action: withScope(scope) } } : { 'llm-scope': { action: scope } }
  const judged = [{ 'llm-key': null }, { 'key-auth': null }, judge]
  const gateway = await startGateway({
    plugin: init,
    consumers: [{ username: 'ada', tags }],
    config: {
      apiEndpoints: { strip: { host: '*', paths: '/strip/*' }, llm: { host: '*', paths: '/*' } },
      serviceEndpoints: { model: { url: upstreamUrl } },
      policies: ['llm-key', 'key-auth', ...Object.keys(judge), 'proxy'],
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
