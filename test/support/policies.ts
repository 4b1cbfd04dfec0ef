/** Every policy and set of policies, found by looking: what a module `policies/NAME/index.ts` exports with fields and a
 * `create` or `createAll`. */

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Declared } from '../../policies/policy-set.ts'
import type { Fields } from '../../policies/schema/fields.ts'
import { ROOT } from './sources.ts'

export async function loadPolicies(): Promise<readonly Declared<Fields>[]> {
  const folder = join(ROOT, 'policies')
  const modules = readdirSync(folder)
    .map((name) => join(folder, name, 'index.ts'))
    .filter((path) => existsSync(path))
    .sort()
  const loaded = await Promise.all(modules.map((path) => import(pathToFileURL(path).href) as Promise<object>))
  return loaded.flatMap((module) => Object.values(module)).filter(isPolicy)
}

function isPolicy(value: unknown): value is Declared<Fields> {
  if (typeof value !== 'object' || value === null || !('name' in value) || !('fields' in value)) return false
  return ['create', 'createAll'].some((member) => typeof (value as Record<string, unknown>)[member] === 'function')
}
