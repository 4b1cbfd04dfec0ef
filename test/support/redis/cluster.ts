/** A Redis Cluster of masters, whose slots a test can move. */

import type { Redis } from 'ioredis'
import { type RedisServer, sleep, startRedis } from './server.ts'

const SLOTS = 16_384

export interface RedisCluster {
  readonly servers: readonly RedisServer[]
  /** As the config has it. */
  readonly nodes: readonly { readonly host: string; readonly port: number }[]
  /** The server that holds a slot. */
  ownerOf(slot: number): RedisServer
  /** Begins to move a slot: keys that are gone from the source are asked for at the target. */
  beginMove(slot: number, to: RedisServer): Promise<void>
  /** Moves the keys of the slot. */
  moveKeys(slot: number, to: RedisServer): Promise<number>
  /** The target owns the slot from now on. */
  endMove(slot: number, to: RedisServer): Promise<void>
  close(): Promise<void>
}

/** @param args further arguments of every server */
export async function startCluster(masters = 3, args: readonly string[] = []): Promise<RedisCluster> {
  const servers: RedisServer[] = []
  try {
    // On any port: ten thousand above it lies the port of the cluster's own bus, which may be taken.
    const cluster = [
      '--cluster-enabled',
      'yes',
      '--cluster-node-timeout',
      '1500',
      '--cluster-require-full-coverage',
      'no',
    ]
    for (let index = 0; index < masters; index++) servers.push(await startRedis({ args: [...cluster, ...args] }))
    return await joined(servers)
  } catch (error) {
    for (const server of servers) await server.close()
    throw error
  }
}

async function joined(servers: readonly RedisServer[]): Promise<RedisCluster> {
  const owners = new Map<number, RedisServer>()
  const clients = new Map(servers.map((server) => [server, server.client()]))
  const clientOf = (server: RedisServer): Redis => clients.get(server) ?? server.client()

  function ownerOf(slot: number): RedisServer {
    const owner = owners.get(slot)
    if (owner === undefined) throw new Error(`nobody has slot ${slot}`)
    return owner
  }

  for (const [index, server] of servers.entries()) {
    const from = Math.floor((SLOTS * index) / servers.length)
    const to = Math.floor((SLOTS * (index + 1)) / servers.length)
    const slots = Array.from({ length: to - from }, (_, offset) => from + offset)
    await clientOf(server).cluster('ADDSLOTS', ...slots)
    for (const slot of slots) owners.set(slot, server)
    await clientOf(server).cluster('SET-CONFIG-EPOCH', index + 1)
  }
  await comeTogether(servers.map((server) => ({ client: clientOf(server), server })))

  return {
    servers,
    nodes: servers.map(({ host, port }) => ({ host, port })),
    ownerOf,
    async beginMove(slot, to) {
      const from = ownerOf(slot)
      const source = await idOf(clientOf(from))
      const target = await idOf(clientOf(to))
      await clientOf(to).cluster('SETSLOT', slot, 'IMPORTING', source)
      await clientOf(from).cluster('SETSLOT', slot, 'MIGRATING', target)
    },
    async moveKeys(slot, to) {
      const from = clientOf(ownerOf(slot))
      const keys = await from.cluster('GETKEYSINSLOT', slot, 1000)
      for (const key of keys) await from.call('MIGRATE', to.host, to.port, key, 0, 5000)
      return keys.length
    },
    async endMove(slot, to) {
      const target = await idOf(clientOf(to))
      for (const server of [to, ...servers.filter((each) => each !== to)])
        await clientOf(server).cluster('SETSLOT', slot, 'NODE', target)
      owners.set(slot, to)
    },
    async close() {
      for (const server of servers) await server.close()
    },
  }
}

async function idOf(client: Redis): Promise<string> {
  return String(await client.cluster('MYID'))
}

/** Until every node knows every other one and where every slot is, and says that all is well. */
async function comeTogether(nodes: readonly { readonly client: Redis; readonly server: RedisServer }[]): Promise<void> {
  const told = ['cluster_state:ok', `cluster_known_nodes:${nodes.length}`, `cluster_slots_ok:${SLOTS}`]
  for (let attempt = 0; attempt < 300; attempt++) {
    // On a busy machine a handshake may run out of its time, and nobody tries again by itself.
    if (attempt % 50 === 0)
      for (const { client } of nodes)
        for (const other of nodes)
          if (other.client !== client) await client.cluster('MEET', other.server.host, other.server.port)
    const infos = await Promise.all(nodes.map(async ({ client }) => String(await client.cluster('INFO'))))
    if (infos.every((info) => told.every((line) => info.includes(line)))) return
    await sleep(50)
  }
  throw new Error('the cluster does not come together')
}
