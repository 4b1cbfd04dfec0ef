/** Kong plugin `llm-token-limit`: after authentication and Kong's own rate-limiting (910), before anything that answers. */

import { tokenLimit } from '../../../policies/token-limit/index.ts'
import { kongPlugin } from '../plugin.ts'

export const { Name, Version, Priority, Schema, Plugin } = kongPlugin('llm-token-limit', 905, tokenLimit)
