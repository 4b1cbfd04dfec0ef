/**
 * Builds what an operator deploys: `dist/kong/portcullis-kong.cjs`, one file without a node_modules (two
 * more in `tokenizer/`, for exact counts only), `dist/kong/cli/portcullis.mjs`, the command line for the same machine, and
 * `dist/kong/plugins/<name>.js` for trying a plugin out under the stock `kong-js-pluginserver`.
 */

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** kong-pdk registers ts-node as it loads: 55 MB and 110 ms for compiling what is compiled already. */
const withoutTsNode: Plugin = {
  name: 'without-ts-node',
  setup(builder) {
    builder.onResolve({ filter: /^ts-node$/ }, ({ path }) => ({ path, namespace: 'without-ts-node' }))
    builder.onLoad({ filter: /.*/, namespace: 'without-ts-node' }, () => ({ contents: 'exports.register = () => {}' }))
  },
}

/** Two megabytes each, and only wanted with `tokenizer: gpt-tokenizer`: files of their own, loaded when needed. */
const ENCODINGS = ['o200k_base', 'cl100k_base'] as const

/** @param directory from the importing file to where the encodings are. */
function encodingsIn(directory: string): Plugin {
  return {
    name: 'encodings',
    setup(builder) {
      builder.onResolve({ filter: /^gpt-tokenizer\/encoding\// }, ({ path }) => ({
        path: `${directory}/${path.slice(path.lastIndexOf('/') + 1)}.cjs`,
        external: true,
      }))
    },
  }
}

const NOTICE = '/*! Contains kong-pdk (Apache-2.0) and others: see THIRD-PARTY-NOTICES.txt */'

/** CommonJS packages in an ES module ask for Node's own modules by `require`. */
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)"

const common: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node22',
  format: 'cjs',
  legalComments: 'none',
  logLevel: 'warning',
  metafile: true,
}

/** @returns paths of what was built. */
export async function bundle(outDir: string): Promise<readonly string[]> {
  rmSync(outDir, { recursive: true, force: true })
  const server = join(outDir, 'portcullis-kong.cjs')
  const cli = join(outDir, 'cli/portcullis.mjs')
  const entries = readdirSync(join(root, 'plugins/kong/plugins'), { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(root, 'plugins/kong/plugins', entry.name))
  const results = await Promise.all([
    build({
      ...common,
      entryPoints: [join(root, 'plugins/kong/main.ts')],
      outfile: server,
      banner: { js: `#!/usr/bin/env node\n${NOTICE}` },
      plugins: [withoutTsNode, encodingsIn('./tokenizer')],
    }),
    build({
      ...common,
      entryPoints: entries,
      outdir: join(outDir, 'plugins'),
      banner: { js: NOTICE },
      plugins: [withoutTsNode, encodingsIn('../tokenizer')],
    }),
    build({
      ...common,
      entryPoints: ENCODINGS.map((encoding) => `gpt-tokenizer/encoding/${encoding}`),
      entryNames: '[name]',
      outExtension: { '.js': '.cjs' },
      outdir: join(outDir, 'tokenizer'),
    }),
    build({
      ...common,
      // In pieces, as its commands load what they need; and it awaits at its top level.
      format: 'esm',
      splitting: true,
      entryPoints: { portcullis: join(root, 'plugins/cli/main.ts') },
      outExtension: { '.js': '.mjs' },
      outdir: dirname(cli),
      banner: { js: `${NOTICE}\n${REQUIRE}` },
      plugins: [encodingsIn('../tokenizer')],
    }),
  ])
  chmodSync(server, 0o755)
  chmodSync(cli, 0o755)
  // The pack is an ES module package, and Kong's stock server takes .js files for CommonJS.
  mkdirSync(outDir, { recursive: true })
  writeFileSync(join(outDir, 'package.json'), '{ "type": "commonjs" }\n')
  writeFileSync(join(outDir, 'THIRD-PARTY-NOTICES.txt'), notices(results.map(({ metafile }) => metafile)))
  return results.flatMap(({ metafile }) => Object.keys(metafile?.outputs ?? {}))
}

/** Licence texts of every package whose code is in a bundle. */
function notices(metafiles: ReadonlyArray<Metafile | undefined>): string {
  const inputs = metafiles.flatMap((metafile) =>
    Object.values(metafile?.outputs ?? {}).flatMap((out) => Object.keys(out.inputs)),
  )
  const packages = new Set(inputs.map(packageOf).filter((directory) => directory !== undefined))
  return [...packages]
    .sort()
    .map(notice)
    .join(`\n${'-'.repeat(78)}\n\n`)
}

/** The innermost package directory of an input, relative to the root. */
function packageOf(input: string): string | undefined {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0]
}

function notice(directory: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(root, directory, 'package.json'), 'utf8')) as {
    readonly name: string
    readonly version: string
    readonly license?: string
  }
  const files = readdirSync(join(root, directory)).filter((file) => /^(licen[cs]e|notice|copying)/i.test(file))
  const texts = files.map((file) => readFileSync(join(root, directory, file), 'utf8').trim())
  return `${name} ${version} (${license ?? 'licence in the text'})\n\n${texts.join('\n\n')}\n`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const outDir = join(root, 'dist/kong')
  if (!existsSync(dirname(outDir))) mkdirSync(dirname(outDir))
  for (const path of await bundle(outDir)) console.log(path)
}
