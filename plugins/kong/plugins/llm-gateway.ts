/** Kong plugin `llm-gateway`: every policy in one, where `llm-scope` would run: after authentication and llm-edge (949). */

import { llmGateway } from '../../../policies/gateway/index.ts'
import { kongPlugin } from '../plugin.ts'

export const { Name, Version, Priority, Schema, Plugin } = kongPlugin('llm-gateway', 940, llmGateway)
