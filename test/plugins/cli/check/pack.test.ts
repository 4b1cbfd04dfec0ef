/** What the audit knows of the pack's own plugins is what they are. */

import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { JUDGED_PLUGINS } from '../../../../plugins/cli/check/policies.ts'
import { DECIDING, PACK, PRIORITIES } from '../../../../plugins/cli/check/priorities.ts'
import { loadPlugins, PLUGIN_NAMES } from '../../../../plugins/kong/registry.ts'
import { ROOT } from './portcullis.ts'

const companions = readdirSync(`${ROOT}kong/plugins`)

describe('portcullis check', () => {
  it('knows every plugin, and judges the config of each that decides', () => {
    expect(DECIDING.toSorted()).toEqual(PLUGIN_NAMES.toSorted())
    expect(JUDGED_PLUGINS.toSorted()).toEqual(PLUGIN_NAMES.toSorted())
    expect(PACK.toSorted()).toEqual([...PLUGIN_NAMES, ...companions].toSorted())
  })

  it('knows when each runs', async () => {
    for (const { Name, Priority } of await loadPlugins()) expect(PRIORITIES[Name], Name).toBe(Priority)
    for (const name of companions) {
      const handler = readFileSync(`${ROOT}kong/plugins/${name}/handler.lua`, 'utf8')
      expect(PRIORITIES[name], name).toBe(Number(/PRIORITY = (\d+)/.exec(handler)?.[1]))
    }
  })
})
