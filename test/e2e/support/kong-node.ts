/** A Kong node in a process of its own, with ports of its own; see `kong-nodes.ts`. Ends when its parent lets go of it. */

import { startKong } from './host.ts'
import type { KongConfig } from './kong.ts'

const kong = await startKong({ config: JSON.parse(process.argv[2] ?? '') as KongConfig })
process.on('message', (config) => {
  void kong.apply(config as KongConfig).then(
    () => process.send?.('applied'),
    (error) => process.send?.(String(error)),
  )
})
process.once('disconnect', () => {
  void kong.stop().then(() => process.exit(0))
})
process.send?.(kong.url)
