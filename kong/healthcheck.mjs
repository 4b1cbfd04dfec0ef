/** Healthy: Kong has its configuration, and the plugin server takes connections. A control plane has no plugin server. */

import { connect } from 'node:net'

const { KONG_STATUS_LISTEN = '127.0.0.1:8007', KONG_ROLE } = process.env
const status = KONG_STATUS_LISTEN.match(/:(\d+)/)?.[1]
const [, socket] = Object.entries(process.env).find(([name]) => /^KONG_PLUGINSERVER_LLM_.*_SOCKET$/.test(name)) ?? []

async function ready(port) {
  const reply = await fetch(`http://127.0.0.1:${port}/status/ready`).catch(() => undefined)
  return reply?.ok === true
}

// Without a status port (`off`) only the plugin server can be asked.
if (status !== undefined && !(await ready(status))) process.exit(1)
if (KONG_ROLE === 'control_plane') process.exit(0)
if (socket === undefined) process.exit(1)
connect(socket)
  .on('connect', () => process.exit(0))
  .on('error', () => process.exit(1))
