/** Character references of HTML, as far as they hide what a detector looks for. */

import { isHiding, plainJoint, type Scan } from './scan.ts'
import { isAlphanumeric, isDigit } from './text.ts'

const NAMED: Readonly<Record<string, number>> = { commat: 64, period: 46, nbsp: 0xa0 }
const REFERENCE = /&(?:#x0{0,4}([0-9a-f]{2,4})|#0{0,4}([0-9]{2,5})|(commat|period|nbsp));/iy
/** What stands in addresses, numbers and tokens beside letters and digits. */
const TELLING = ' @.-:/+_='

export const ENTITY_KEYWORDS = ['&#', ...Object.keys(NAMED).map((name) => `&${name};`)]

/** The character that the reference at `at` stands for, and where that ends; undefined when it is none of those that matter. */
export function entityAt(text: string, at: number): { readonly code: number; readonly end: number } | undefined {
  REFERENCE.lastIndex = at
  const [reference = '', hex, decimal, name] = REFERENCE.exec(text) ?? []
  if (reference === '') return undefined
  const code = name === undefined ? Number(hex === undefined ? decimal : `0x${hex}`) : NAMED[name.toLowerCase()]
  return code !== undefined && hides(code) ? { code, end: at + reference.length } : undefined
}

function hides(code: number): boolean {
  if (code < 128) return isAlphanumeric(code) || TELLING.includes(String.fromCharCode(code))
  return isHiding(code) || plainJoint(code) !== 0
}

/** Notes a reference that hides something; a space or hyphen counts only between digits. */
export function noteEntity(scan: Scan, start: number): void {
  const { text } = scan
  const entity = entityAt(text, start)
  if (entity === undefined) return
  const isJoint = entity.code === 32 || entity.code === 45 || plainJoint(entity.code) !== 0
  if (isJoint && !(isDigit(text.charCodeAt(start - 1)) && isAlphanumeric(text.charCodeAt(entity.end)))) return
  scan.hidden.push(start)
}
