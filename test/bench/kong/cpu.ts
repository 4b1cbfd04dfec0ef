/** CPU time of the processes that answer a request: what a gateway with free cores is bound by. Linux only. */

import { readFileSync } from 'node:fs'

/** Milliseconds since each process began. */
export interface CpuTime {
  /** Kong's one worker. */
  readonly worker: number
  readonly server: number
  readonly redis: number
}

export interface Processes {
  readonly worker: number
  readonly server: number
  readonly redis: number
}

/** What the clock ticks of /proc are: USER_HZ, the same on every Linux. */
const TICK_MS = 10

/** @returns a function that tells the time used so far */
export function cpuClock({ worker, server, redis }: Processes): () => CpuTime {
  return () => ({ worker: usedBy(worker), server: usedBy(server), redis: usedBy(redis) })
}

/** Kong's worker starts the plugin server, through processes of its own. */
export function workerAbove(pid: number): number {
  let at = pid
  while (!readFileSync(`/proc/${at}/cmdline`, 'utf8').startsWith('nginx: worker')) {
    at = Number(statOf(at)[1])
    if (at <= 1) throw new Error('the plugin server has no worker of Kong above it')
  }
  return at
}

function usedBy(pid: number): number {
  const stat = statOf(pid)
  return (Number(stat[11]) + Number(stat[12])) * TICK_MS
}

/** Fields of /proc/PID/stat behind the name, which may hold anything: state, parent, …; 11 and 12 are user and system time. */
function statOf(pid: number): readonly string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}
