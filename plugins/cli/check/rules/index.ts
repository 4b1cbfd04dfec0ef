/** Every rule of `portcullis check`, in the order of the documentation. */

import type { Rule } from '../rule.ts'
import { auditLinesCut, auditNotLogged } from './audit.ts'
import { anonymousAllowed, endlessTokens, preflightUnauthenticated, routeWithoutAuth } from './auth.ts'
import { addedNotReplaced, credentialsForwarded, keysInAddress, providerKeyForwarded } from './credentials.ts'
import {
  adminExposed,
  bodyBuffers,
  debugLog,
  oldTls,
  pluginServer,
  queryInAccessLog,
  realIpHeader,
  socketTimeout,
  trustsEverybody,
  upstreamTrust,
} from './deployment.ts'
import { errorLog } from './error-log.ts'
import { guardIncomplete, guardMissing, guardUnmeetable } from './guard.ts'
import { keysInLogs, keysInTraces, promptsInLogs } from './logs.ts'
import { cachedAnswers, consumerGroup, edgeMissing, editsAfterScope, keyHeaderMismatch, neverApplies } from './order.ts'
import { bodyCaps, configRefused, inShadow, localCounters, policiesTwice, unlimitedCallers } from './plugin-config.ts'
import { clientKeyInClear, keyTooOld, secretInClear, vaultNotResolved } from './secrets.ts'
import { httpAllowed, protocolUnmetered, upstreamInClear, upstreamUnverified } from './transport.ts'

export const RULES: readonly Rule[] = [
  routeWithoutAuth,
  anonymousAllowed,
  endlessTokens,
  preflightUnauthenticated,
  httpAllowed,
  upstreamInClear,
  upstreamUnverified,
  protocolUnmetered,
  guardMissing,
  guardIncomplete,
  guardUnmeetable,
  editsAfterScope,
  cachedAnswers,
  edgeMissing,
  keyHeaderMismatch,
  neverApplies,
  consumerGroup,
  configRefused,
  policiesTwice,
  unlimitedCallers,
  bodyCaps,
  credentialsForwarded,
  addedNotReplaced,
  providerKeyForwarded,
  secretInClear,
  clientKeyInClear,
  keysInAddress,
  vaultNotResolved,
  keyTooOld,
  keysInLogs,
  keysInTraces,
  promptsInLogs,
  pluginServer,
  socketTimeout,
  bodyBuffers,
  oldTls,
  upstreamTrust,
  adminExposed,
  trustsEverybody,
  realIpHeader,
  queryInAccessLog,
  errorLog,
  debugLog,
  auditNotLogged,
  auditLinesCut,
  inShadow,
  localCounters,
]
