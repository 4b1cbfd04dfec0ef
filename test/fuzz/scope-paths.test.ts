import { scopeRandom } from '../conformance/scope-random.ts'
import { startScopeGateway } from '../plugins/express-gateway/support/scope-gateway.ts'

scopeRandom('Express Gateway 1.16', startScopeGateway)
