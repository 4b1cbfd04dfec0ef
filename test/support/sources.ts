/** The repository's own files, and what a TypeScript source imports and calls. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'

export const ROOT = new URL('../../', import.meta.url).pathname

/** Never read: installed, built, recorded, or not ours. */
const SKIPPED = new Set(['node_modules', 'dist', '.git', 'package-lock.json'])

/** Paths from the root, in order, of the files below a folder. */
export function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true })
    .filter((entry) => !SKIPPED.has(entry.name))
    .flatMap((entry) => {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [path] : []
    })
    .sort()
}

export function sourcesBelow(folder: string): string[] {
  return filesBelow(folder).filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))
}

export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

export interface Source {
  /** Modules that run time needs; imports of types alone are left out. */
  readonly imports: readonly string[]
  /** Modules that are only named for their types. */
  readonly typeImports: readonly string[]
  /** Members of globals, such as `Date.now`; `new Date()` for a construction without arguments. */
  readonly uses: readonly string[]
}

export function readSource(path: string): Source {
  const imports: string[] = []
  const typeImports: string[] = []
  const uses: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier))
      (node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword ? typeImports : imports).push(
        node.moduleSpecifier.text,
      )
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier))
      (node.isTypeOnly ? typeImports : imports).push(node.moduleSpecifier.text)
    else if (ts.isCallExpression(node) && loadsModule(node))
      imports.push(...node.arguments.filter(ts.isStringLiteral).map(({ text }) => text))
    else if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression))
      uses.push(`${node.expression.text}.${node.name.text}`)
    else if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && (node.arguments?.length ?? 0) === 0)
      uses.push(`new ${node.expression.text}()`)
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(path, readText(path), ts.ScriptTarget.Latest, true))
  return { imports, typeImports, uses }
}

function loadsModule(node: ts.CallExpression): boolean {
  const callee = node.expression
  return callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === 'require')
}
