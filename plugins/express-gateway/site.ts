/** What the adapter must know of the pipeline that a request runs in. */

import { type KeyAuthPlaces, keyAuthPlaces, mayHoldClaims } from './caller.ts'
import { credentialNames } from './check.ts'
import type { EgRequest, GatewayConfig } from './eg.ts'
import { type CredentialNames, WELL_KNOWN } from './keys.ts'
import { type PipelineConfig, readPipelines } from './pipelines.ts'
import { type ProxyMapping, proxyMappings, upstreamPath } from './upstream-path.ts'

export interface Site {
  readonly mapping: ProxyMapping | undefined
  /** Everything that may hold a credential in a request to this pipeline. */
  readonly credentials: CredentialNames
  readonly keyAuth: KeyAuthPlaces
  readonly mayHoldClaims: boolean
}

/** By name of the API endpoint. Of several pipelines with one endpoint Express Gateway mounts the last. */
export function sitesOf(config: GatewayConfig): ReadonlyMap<string, Site> {
  return new Map(
    readPipelines(config).flatMap((pipeline) => {
      const site = siteOf(pipeline, config)
      return pipeline.apiEndpoints.map((name) => [name, site] as const)
    }),
  )
}

function siteOf(pipeline: PipelineConfig, config: GatewayConfig): Site {
  const own = credentialNames(pipeline)
  return {
    mapping: proxyMappings(pipeline, config)[0],
    credentials: {
      headers: [...new Set([...WELL_KNOWN.headers, ...own.headers])],
      query: [...new Set([...WELL_KNOWN.query, ...own.query])],
    },
    keyAuth: keyAuthPlaces(pipeline),
    mayHoldClaims: mayHoldClaims(pipeline),
  }
}

export function pathAt(request: EgRequest, site: Site): string | undefined {
  return site.mapping === undefined ? undefined : upstreamPath(request, site.mapping)
}
