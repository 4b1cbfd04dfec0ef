import { existsSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { ROOT, readSource, readText, sourcesBelow } from '../support/sources.ts'

interface Manifest {
  readonly files: readonly string[]
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>
  readonly bin?: Readonly<Record<string, string>>
  readonly scripts: Readonly<Record<string, string>>
  readonly dependencies: Readonly<Record<string, string>>
  readonly peerDependencies: Readonly<Record<string, string>>
}
const manifest = JSON.parse(readText('package.json')) as Manifest

/** What a built file is built from; bundles under `dist/kong` have a build script of their own. */
const sourceOf = (target: string) => target.replace(/^\.\/dist\//, '').replace(/(\.d\.ts|\.js)$/, '.ts')

describe('package.json', () => {
  const subpaths = Object.entries(manifest.exports).filter(([path]) => !path.endsWith('.json'))

  it.each(subpaths)('exports %s from a source that is there and exports something', async (_, target) => {
    if (typeof target === 'string') throw new Error('an export needs its types')
    expect(sourceOf(target.types)).toBe(sourceOf(target.default))
    const source = join(ROOT, sourceOf(target.default))
    expect(existsSync(source)).toBe(true)
    expect(Object.keys((await import(pathToFileURL(source).href)) as object)).not.toEqual([])
  })

  it('exports data that is there and packed', () => {
    const data = Object.entries(manifest.exports).filter(([path]) => path.endsWith('.json'))
    for (const [path, target] of data) {
      expect(JSON.parse(readText(String(target)))).toBeTypeOf('object')
      expect(path === './package.json' || manifest.files.includes(String(target).slice(2)), path).toBe(true)
    }
    expect(data.length).toBeGreaterThan(1)
  })

  it('packs only what is there, and what it needs', () => {
    const [left, taken] = [true, false].map((out) => manifest.files.filter((file) => file.startsWith('!') === out)) as [
      string[],
      string[],
    ]
    expect(taken.filter((file) => file !== 'dist' && !existsSync(join(ROOT, file)))).toEqual([])
    expect(manifest.files).toEqual(expect.arrayContaining(['dist', 'kong', 'CHANGELOG.md']))
    // npm packs these unasked.
    for (const file of ['README.md', 'LICENSE']) expect(existsSync(join(ROOT, file))).toBe(true)
    const isBelow = (files: readonly string[], target: string) =>
      files.some((file) => target.replace(/^\.\//, '').startsWith(`${file.replace('!', '')}/`))
    const packed = (target: string) => isBelow(taken, target) && !isBelow(left, target)
    expect(Object.values(manifest.bin ?? {}).filter((target) => !packed(target))).toEqual([])
  })

  it('runs only scripts that are there', () => {
    const named = Object.values(manifest.scripts).flatMap((script) => script.match(/[\w./-]+\.(ts|mjs|json)\b/g) ?? [])
    expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
    expect(named.length).toBeGreaterThan(3)
  })
})

/** Bundled into what Kong loads, or part of the build. */
const BUNDLED = new Set(['kong-pdk', 'esbuild'])

describe('every package that shipped code imports', () => {
  const installed = new Set([...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)])

  it.each([...sourcesBelow('policies'), ...sourcesBelow('plugins')])('%s', (path) => {
    const packages = readSource(path)
      .imports.filter((name) => !name.startsWith('.') && !isBuiltin(name))
      .map((name) => name.match(/^(@[^/]+\/)?[^/]+/)?.[0] ?? name)
    const allowed = (name: string) => installed.has(name) || (path.startsWith('plugins/kong/') && BUNDLED.has(name))
    expect(packages.filter((name) => !allowed(name))).toEqual([])
  })

  it('names Node’s own modules with node:', () => {
    const bare = [...sourcesBelow('policies'), ...sourcesBelow('plugins')].flatMap((path) =>
      readSource(path).imports.filter((name) => isBuiltin(name) && !name.startsWith('node:')),
    )
    expect(bare).toEqual([])
  })
})
