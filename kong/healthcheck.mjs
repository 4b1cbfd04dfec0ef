/** Healthy: Kong has its configuration, and the plugin server takes connections. */

import { connect } from 'node:net'

const socket = process.env.KONG_PLUGINSERVER_LLM_TOKEN_LIMIT_SOCKET ?? '/usr/local/kong/portcullis.socket'
const status = await fetch('http://127.0.0.1:8100/status/ready').catch(() => undefined)
if (!status?.ok) process.exit(1)
connect(socket)
  .on('connect', () => process.exit(0))
  .on('error', () => process.exit(1))
