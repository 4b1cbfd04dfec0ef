/** Who started whom, from `/proc`; a system without one knows nothing. */

import { readFileSync } from 'node:fs'

export interface ProcessInfo {
  readonly name: string
  readonly parent: number
}

export function lookUpProcess(pid: number): ProcessInfo | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The second field is the name in brackets, and may itself hold brackets and spaces.
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    return Number.isInteger(parent) ? { name, parent } : undefined
  } catch {
    return undefined
  }
}

export function isNginx(pid: number): boolean {
  return lookUpProcess(pid)?.name === 'nginx'
}

/** True when both processes are workers of one nginx master. */
export function sameNginx(one: number, other: number): boolean {
  const [a, b] = [lookUpProcess(one), lookUpProcess(other)]
  return a?.name === 'nginx' && b?.name === 'nginx' && a.parent === b.parent
}
