/** Holds Kong's worker to a share of one core. Linux, as root, with control groups of version 1 or 2. */

import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'

const ROOT = '/sys/fs/cgroup'
/** Short, so that the worker never stands still for longer than a few milliseconds. */
const PERIOD_MICROSECONDS = 5_000

/**
 * Worker, plugin server, Redis, load and upstream share the cores of the machine. Holding back the worker alone shows
 * how much traffic it could take with cores to spare for the others. Times flatter what runs outside the worker, which
 * keeps its full speed.
 *
 * @param share of one core, above 0, at most 1
 * @returns lifts it again
 */
export function holdBack(worker: number, share: number): () => void {
  if (!(share > 0 && share <= 1)) throw new RangeError('the share of a core must be above 0 and at most 1')
  const quota = Math.max(1_000, Math.round(share * PERIOD_MICROSECONDS))
  const unified = existsSync(`${ROOT}/cgroup.controllers`)
  const parent = unified ? ROOT : `${ROOT}/cpu`
  const before = `${ROOT}${unified ? '' : '/cpu'}${pathOf(worker, unified)}`
  if (unified) writeFileSync(`${ROOT}/cgroup.subtree_control`, '+cpu')
  const group = `${parent}/portcullis-bench-${worker}`
  mkdirSync(group)
  if (unified) {
    writeFileSync(`${group}/cpu.max`, `${quota} ${PERIOD_MICROSECONDS}`)
  } else {
    writeFileSync(`${group}/cpu.cfs_period_us`, String(PERIOD_MICROSECONDS))
    writeFileSync(`${group}/cpu.cfs_quota_us`, String(quota))
  }
  writeFileSync(`${group}/cgroup.procs`, String(worker))
  return () => {
    writeFileSync(`${before}/cgroup.procs`, String(worker))
    rmdirSync(group)
  }
}

/** Lines of /proc/PID/cgroup: `number:controllers:path`, without controllers for version 2. */
function pathOf(pid: number, unified: boolean): string {
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n')
  for (const line of lines) {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (unified ? controllers === '' : controllers.split(',').includes('cpu')) return path === '/' ? '' : path
  }
  throw new Error(`process ${pid} is in no control group for the CPU`)
}
