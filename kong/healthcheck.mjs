/** Healthy: Kong has its configuration, and the plugin server takes connections. */

import { connect } from 'node:net'

const status = process.env.KONG_STATUS_LISTEN?.match(/:(\d+)/)?.[1] ?? '8100'
const [, socket] = Object.entries(process.env).find(([name]) => /^KONG_PLUGINSERVER_LLM_.*_SOCKET$/.test(name)) ?? []

const ready = await fetch(`http://127.0.0.1:${status}/status/ready`).then(
  (reply) => reply.ok,
  () => false,
)
if (!ready || socket === undefined) process.exit(1)
connect(socket)
  .on('connect', () => process.exit(0))
  .on('error', () => process.exit(1))
