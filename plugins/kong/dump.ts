/** What Kong's query command must print: one plugin's info, since Kong 3.9 takes only the first of a list. */

import { Module } from 'kong-pdk/lib/mod.js'
import type { KongPlugin } from './plugin.ts'

/** JSON text of a list with that one plugin. */
export function dump(plugin: KongPlugin): string {
  const module = new Module(plugin.Name, undefined, plugin)
  return JSON.stringify([
    {
      Name: module.getName(),
      Version: module.getVersion(),
      Phases: module.getPhases(),
      Priority: module.getPriority(),
      Schema: {
        name: module.getName(),
        // Required, so that Kong fills in defaults and names what is missing when an operator leaves `config` out.
        fields: [{ config: { type: 'record', required: true, fields: module.getSchema() } }],
      },
    },
  ])
}
