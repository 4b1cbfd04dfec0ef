/** Kong plugin `llm-audit-log`: right after llm-edge (949), before every plugin of the pack that refuses. */

import { auditLog } from '../../../policies/audit/index.ts'
import { kongPlugin } from '../plugin.ts'

export const { Name, Version, Priority, Schema, Plugin } = kongPlugin('llm-audit-log', 948, auditLog)
