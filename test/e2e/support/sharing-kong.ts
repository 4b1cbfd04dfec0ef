/** A Kong node, started and stopped by a process of its own, with ports of its own. Ends when its parent lets go of it. */

import { keyOf } from '../../conformance/sharing-nodes.ts'
import { CREDENTIALS } from '../../conformance/sharing-setup.ts'
import { startKong } from './host.ts'

const { upstreamUrl, tokenLimit } = JSON.parse(process.argv[2] ?? '') as {
  readonly upstreamUrl: string
  readonly tokenLimit: Readonly<Record<string, unknown>>
}

const kong = await startKong({
  config: {
    _format_version: '3.0',
    services: [
      {
        name: 'llm',
        url: upstreamUrl,
        retries: 0,
        routes: [{ name: 'llm', paths: ['/'], strip_path: false }],
        plugins: [
          { name: 'llm-key' },
          { name: 'key-auth', config: { key_names: ['apikey'], hide_credentials: true } },
          { name: 'llm-edge' },
          { name: 'llm-token-limit', config: tokenLimit },
          { name: 'llm-guard', config: { require: ['llm-token-limit'] } },
        ],
      },
    ],
    consumers: CREDENTIALS.map((id, index) => ({
      username: `caller-${index}`,
      keyauth_credentials: [{ id, key: keyOf(id) }],
    })),
  },
})
process.once('disconnect', () => {
  void kong.stop().then(() => process.exit(0))
})
process.send?.(kong.url)
