/** The environment that Kong is started with: kong/kong.env, moved to the test's own places. */

import { readFileSync } from 'node:fs'
import type { KongOptions } from './kong.ts'
import { ADMIN_PORT, METRICS_PORT, PROXY_PORT, STATUS_PORT } from './ports.ts'

const START = 'KONG_PLUGINSERVER_LLM_TOKEN_LIMIT_START_CMD'

export interface Places {
  readonly declarativeConfig: string
  /** Folder that holds `kong/plugins`. */
  readonly pack: string
  /** Command that runs `portcullis-kong`. */
  readonly server: string
  readonly socket: string
}

/** Where kong/kong.env says things are, in the image. */
export const IN_IMAGE: Places = {
  declarativeConfig: '/opt/portcullis/kong/kong.yml',
  server: '/usr/local/bin/node /opt/portcullis/dist/kong/portcullis-kong.cjs',
  pack: '/opt/portcullis',
  socket: '/usr/local/kong/portcullis.socket',
}

export function environment(options: KongOptions, places: Places): Record<string, string> {
  const own: Record<string, string> = {}
  for (const line of readFileSync(new URL('../../../kong/kong.env', import.meta.url), 'utf8').split('\n')) {
    const [, name, value] = /^(KONG_\w+)=(.*)$/.exec(line) ?? []
    if (name === undefined || value === undefined) continue
    own[name] = moved(value, places)
  }
  const given = Object.entries(options.env ?? {}).map(([name, value]) => [name, moved(value, places)])
  return {
    ...own,
    KONG_PROXY_LISTEN: `127.0.0.1:${PROXY_PORT} http2 reuseport backlog=16384`,
    KONG_ADMIN_LISTEN: `127.0.0.1:${ADMIN_PORT}`,
    KONG_STATUS_LISTEN: `127.0.0.1:${STATUS_PORT}`,
    KONG_NGINX_WORKER_PROCESSES: String(options.workers ?? 1),
    ...(options.metrics === false ? {} : { [START]: `${own[START]} --metrics-port ${METRICS_PORT}` }),
    ...Object.fromEntries(given),
  }
}

function moved(text: string, places: Places): string {
  // In the order of IN_IMAGE: the configuration lies inside the pack's folder.
  return (Object.keys(IN_IMAGE) as (keyof Places)[]).reduce(
    (moving, place) => moving.replaceAll(IN_IMAGE[place], places[place]),
    text,
  )
}
