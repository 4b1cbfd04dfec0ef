/** Kong plugin `llm-api-key`: after Kong's own authentication and llm-edge (949), before whatever asks who calls. */

import { apiKey } from '../../../policies/api-key/index.ts'
import { kongPlugin } from '../plugin.ts'

export const { Name, Version, Priority, Schema, Plugin } = kongPlugin('llm-api-key', 945, apiKey)
