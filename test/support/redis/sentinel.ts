/** A master, a replica, and sentinels that watch them. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, type RedisServer, sleep, startRedis } from './server.ts'

export interface RedisSentinels {
  readonly master: RedisServer
  readonly replica: RedisServer
  readonly sentinels: readonly RedisServer[]
  readonly name: string
  close(): Promise<void>
}

export async function startSentinels(count = 3): Promise<RedisSentinels> {
  const name = 'portcullis-test'
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-sentinel-'))
  // A replica joins at once, where the default waits for others to join with it.
  const master = await startRedis({ port: await freePort(), args: ['--repl-diskless-sync-delay', '0'] })
  const replica = await startRedis({ port: await freePort(), args: ['--replicaof', master.host, String(master.port)] })
  await replicating(replica)
  const sentinels: RedisServer[] = []
  for (let index = 0; index < count; index++) {
    const port = await freePort()
    const file = join(directory, `${port}.conf`)
    writeFileSync(
      file,
      [
        `sentinel monitor ${name} ${master.host} ${master.port} ${Math.floor(count / 2) + 1}`,
        `sentinel down-after-milliseconds ${name} 500`,
        `sentinel failover-timeout ${name} 3000`,
        '',
      ].join('\n'),
    )
    sentinels.push(await startRedis({ port, args: [file], sentinel: true }))
  }
  for (const sentinel of sentinels) await watching(sentinel, name, count)
  return {
    master,
    replica,
    sentinels,
    name,
    async close() {
      for (const server of [...sentinels, replica, master]) await server.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function replicating(replica: RedisServer): Promise<void> {
  const client = replica.client()
  for (let attempt = 0; attempt < 200; attempt++) {
    if ((await client.info('replication')).includes('master_link_status:up')) return
    await sleep(50)
  }
  throw new Error('the replica does not follow its master')
}

/** It knows the replica and the other sentinels. */
async function watching(sentinel: RedisServer, name: string, count: number): Promise<void> {
  const client = sentinel.client()
  for (let attempt = 0; attempt < 400; attempt++) {
    const info = await client.info('sentinel')
    if (info.includes(`name=${name},status=ok`) && info.includes(`slaves=1,sentinels=${count}`)) return
    await sleep(50)
  }
  throw new Error('the sentinels do not find each other')
}
