/** Every policy of the pack, found by looking: what a module `policies/NAME/index.ts` exports with fields and a `create`. */

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Policy } from '../../policies/policy.ts'
import type { Fields } from '../../policies/schema/fields.ts'
import { ROOT } from './sources.ts'

export async function loadPolicies(): Promise<readonly Policy<Fields>[]> {
  const folder = join(ROOT, 'policies')
  const modules = readdirSync(folder)
    .map((name) => join(folder, name, 'index.ts'))
    .filter((path) => existsSync(path))
    .sort()
  const loaded = await Promise.all(modules.map((path) => import(pathToFileURL(path).href) as Promise<object>))
  return loaded.flatMap((module) => Object.values(module)).filter(isPolicy)
}

function isPolicy(value: unknown): value is Policy<Fields> {
  return (
    typeof value === 'object' &&
    value !== null &&
    ['name', 'fields', 'create'].every((member) => member in value) &&
    typeof (value as Policy<Fields>).create === 'function'
  )
}
