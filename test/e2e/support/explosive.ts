/** A plugin server whose policies meet exceptions where a body asks for it. */

import { EXPLOSIVES } from '../../canary/support/explosives.ts'
import { IN_IMAGE } from './environment.ts'
import { METRICS_PORT } from './ports.ts'

const SERVE = `${IN_IMAGE.server} serve --socket ${IN_IMAGE.socket} --metrics-port ${METRICS_PORT}`

/** For {@link KongOptions.env}. */
export const EXPLOSIVE = {
  KONG_PLUGINSERVER_LLM_TOKEN_LIMIT_START_CMD: `/usr/bin/env NODE_OPTIONS=--import=${EXPLOSIVES} ${SERVE}`,
}
