import { scopeConformance } from '../../conformance/scope.ts'
import { startScopeGateway } from '../../plugins/express-gateway/support/scope-gateway.ts'

scopeConformance('Express Gateway 1.16', startScopeGateway)
