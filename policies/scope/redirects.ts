/**
 * By what a router or proxy in front of models (LiteLLM, OpenRouter, Portkey, Helicone, Azure, Vertex) takes another model
 * or provider than the one named by `model`: what answers is then unknown.
 */

import { assertModel } from '../llm/body-fields.ts'
import { isObject, type JsonObject } from '../llm/json.ts'
import type { Exchange } from '../policy.ts'
import { UNKNOWN_MODEL } from './grants.ts'

/** Members of a body, fields of a form and parameters of a query, folded by {@link foldName}. */
const NAMES: ReadonlySet<string> = new Set([
  'apibase',
  'azureendpoint',
  'basemodel',
  'baseurl',
  'config',
  'contentpolicyfallbacks',
  'contextwindowfallbackdict',
  'contextwindowfallbacks',
  'customllmprovider',
  'defaultfallbacks',
  'deployment',
  'deploymentid',
  'deploymentname',
  'engine',
  'extrabody',
  'extraheaders',
  'extraquery',
  'fallbackmodels',
  'fallbacks',
  'headers',
  'litellmparams',
  'modelaliasmap',
  'modelgroupalias',
  'modelid',
  'modelinfo',
  'modellist',
  'modelname',
  'preset',
  'promptid',
  'providerspecificheader',
  'routersettingsoverride',
  'specificdeployment',
  'userconfig',
])

/** LiteLLM lets a query's model win over the body's. */
const QUERY_NAMES: ReadonlySet<string> = new Set([...NAMES, 'model', 'models'])

/** Vertex picks the model by these, whatever the path says. */
const ROUTING = ['routingconfig', 'modelconfig', 'modelselectionconfig']

/** What names a model inside tools, plugins and data sources: `model`, `allowed_models`, `modelName`, `deployment_name`. */
const INNER_NAME = /(?:models?(?:name|id)?|deploymentname)$/
/** What callers describe their own functions with: a `model` there is theirs. */
const OWN_WORDS: ReadonlySet<string> = new Set(['function', 'functiondeclarations', 'inputschema'])

export const REDIRECTING_HEADERS = [
  'azureml-model-deployment',
  'helicone-fallbacks',
  'helicone-openai-api-base',
  'helicone-target-url',
  'x-portkey-azure-deployment-id',
  'x-portkey-config',
  'x-portkey-custom-host',
  'x-portkey-provider',
  'x-portkey-virtual-key',
] as const

/** Whether a member of this name makes the model unknown. */
export function redirects(name: string): boolean {
  return NAMES.has(foldName(name))
}

export function redirectsInQuery(name: string): boolean {
  return QUERY_NAMES.has(foldName(name))
}

/** Whether a header or the query leaves open which model answers. */
export async function isRedirected(exchange: Pick<Exchange, 'header' | 'queryNames'>): Promise<boolean> {
  const names = exchange.queryNames()
  if ((names instanceof Promise ? await names : names).some(redirectsInQuery)) return true
  for (const name of REDIRECTING_HEADERS) {
    const header = exchange.header(name)
    if ((header instanceof Promise ? await header : header) !== undefined) return true
  }
  return false
}

/** {@link UNKNOWN_MODEL} when the body leaves open which model answers. @param except names that the caller reads itself */
export function redirectedBy(body: JsonObject, except: readonly string[] = []): string[] {
  const configs = [body.generationConfig, body.generation_config].filter(isObject)
  const found =
    Object.entries(body).some(([name, value]) => value !== null && redirects(name) && !except.includes(name)) ||
    configs.some((config) =>
      Object.entries(config).some(([name, value]) => value !== null && ROUTING.includes(foldName(name))),
    )
  return found ? [UNKNOWN_MODEL] : []
}

/** What uses models of its own beside the one that answers. */
const HELPERS = ['tools', 'plugins', 'data_sources', 'dataSources'] as const

/** Models of tools, plugins and data sources. @throws {RefusedRead} as {@link innerModels} does */
export function helperModels(body: JsonObject): string[] {
  return HELPERS.flatMap((place) => innerModels(body[place]))
}

/**
 * Every model that is named inside the value, at any depth but in a caller's own functions: more than there may be, which
 * only refuses more.
 * @throws {RefusedRead} `invalid_request` for what is no plausible model name.
 */
export function innerModels(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(innerModels)
  if (!isObject(value) || value.type === 'function' || value.type === 'custom') return []
  return Object.entries(value).flatMap(([name, member]) => {
    const folded = foldName(name)
    if (OWN_WORDS.has(folded)) return []
    return INNER_NAME.test(folded) ? namedBy(member) : innerModels(member)
  })
}

function namedBy(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(namedBy)
  return typeof value === 'string' ? [assertModel(value, 'model')] : innerModels(value)
}

/** `extra_body[model]`, `Extra-Body` and `extraBody` are one name to some server; NUL and white space end others. */
export function foldName(name: string): string {
  return (name.split(/[[.\0]/, 1)[0] ?? '').replace(/[\s_-]/g, '').toLowerCase()
}
