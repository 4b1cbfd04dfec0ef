/** Kong plugin `llm-scope`: after Kong's own authentication and llm-edge (949), before anything that spends. */

import { scope } from '../../../policies/scope/index.ts'
import { kongPlugin } from '../plugin.ts'

export const { Name, Version, Priority, Schema, Plugin } = kongPlugin('llm-scope', 940, scope)
