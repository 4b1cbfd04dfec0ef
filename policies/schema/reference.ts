/** Reference tables in Markdown, generated from the declarations that the code runs on. */

import type { CodeEntry } from '../errors.ts'
import type { Field, Fields, Kind } from './fields.ts'

/** Every option with its nested paths (`limits[].name`, `aliases.*`), in the order of the declaration. */
export function fieldsTable(fields: Fields): string {
  return table(['Option', 'Type', 'Default', 'What it does'], fieldRows(fields, ''))
}

/** The options at the top alone, for a declaration whose parts are described elsewhere. */
export function topFieldsTable(fields: Fields): string {
  const rows = Object.entries(fields).map(([key, field]) => fieldRow(key, field))
  return table(['Option', 'Type', 'Default', 'What it does'], rows)
}

/** Every code that can be answered, in the order of the table. */
export function codesTable(codes: Readonly<Record<string, CodeEntry>>): string {
  const rows = Object.entries(codes).map(([code, { status, meaning, fix }]) => [
    String(status),
    `\`${code}\``,
    meaning,
    fix,
  ])
  return table(['Status', 'Code', 'Meaning', 'What to do'], rows)
}

function fieldRows(fields: Fields, path: string): string[][] {
  return Object.entries(fields).flatMap(([key, field]) => {
    const at = `${path}${key}`
    return [fieldRow(at, field), ...nestedRows(field.type, at)]
  })
}

function fieldRow(at: string, field: Field): string[] {
  return [`\`${at}\``, typeText(field.type), defaultText(field), field.description]
}

function nestedRows(kind: Kind, path: string): string[][] {
  switch (kind.kind) {
    case 'record':
      return fieldRows(kind.fields, `${path}.`)
    case 'list':
      return nestedRows(kind.of, `${path}[]`)
    case 'map':
      return nestedRows(kind.of, `${path}.*`)
    default:
      return []
  }
}

function typeText(kind: Kind): string {
  switch (kind.kind) {
    case 'string':
      if (kind.oneOf !== undefined) return kind.oneOf.map((value) => `\`${value}\``).join(', ')
      return kind.secret === true ? 'secret string' : 'string'
    case 'integer':
    case 'number':
      return `${kind.kind}${boundsText(kind.min, kind.max)}`
    case 'boolean':
      return 'boolean'
    case 'list':
      return `list of: ${typeText(kind.of)}`
    case 'map':
      return `map of: ${typeText(kind.of)}`
    case 'record':
      return 'object'
  }
}

function boundsText(min: number | undefined, max: number | undefined): string {
  if (min !== undefined && max !== undefined) return `, ${min} to ${max}`
  if (min !== undefined) return `, at least ${min}`
  return max === undefined ? '' : `, at most ${max}`
}

function defaultText(field: Field): string {
  if (field.default !== undefined) return `\`${JSON.stringify(field.default)}\``
  if (field.required !== true) return ''
  return field.type.kind === 'record' ? 'its own defaults' : '**required**'
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
