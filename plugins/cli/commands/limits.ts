/** `portcullis limits`: what a caller has used of each limit in Redis, and giving it back. */

import { type Command, Option } from 'commander'
import { PortcullisError } from '../../../policies/errors.ts'
import type { RedisStore } from '../../../policies/stores/redis/store.ts'
import { EXIT } from '../io.ts'
import { CALLER_HELP, callerParts, type GatewayAdmins, SHARED } from '../limits/caller.ts'
import { asData, asTable, type NamedCounter, named } from '../limits/report.ts'
import { asJson, printable } from '../print.ts'
import type { AddCommands } from '../program.ts'
import { addRedisOptions, type RedisOptions, readRedis } from '../redis-options.ts'

interface LimitOptions extends RedisOptions {
  readonly rule?: string
  readonly everywhere?: true
  readonly kongAdmin?: string
  readonly egAdmin?: string
  readonly json?: true
}

export const addLimits: AddCommands = (program, io, finish) => {
  const limits = program.command('limits').description('Shows and corrects what callers have used of their limits.')

  const addCommand = (name: string, description: string): Command =>
    addLimitOptions(limits.command(name).description(description)).addHelpText('after', `\n${CALLER_HELP}`)

  addCommand('show <caller>', 'Shows every counter of a caller that counts anything now.').action(
    async (caller: string, options: LimitOptions) => {
      const counters = await withStore(options, (store) => find(store, caller, options))
      if (options.json) io.out(asJson({ caller, counters: counters.map(asData) }))
      else io.out(counters.length === 0 ? nothing(caller, options) : asTable(counters))
    },
  )

  addCommand(
    'reset <caller>',
    'Forgets what a caller has used and holds reserved. What is under way now is charged when it ends only as far as it goes beyond its reservation.',
  ).action(async (caller: string, options: LimitOptions) => {
    const counters = await withStore(options, async (store) => {
      const found = await find(store, caller, options)
      for (const { view } of found) await store.reset(view.key, view.caller)
      return found
    })
    if (options.json) io.out(asJson({ caller, reset: counters.map(asData) }))
    else if (counters.length > 0)
      io.out(`Nothing of this counts any more; it is what had been used until now:\n${asTable(counters)}`)
    if (counters.length > 0) return
    io.err(nothing(caller, options))
    finish(EXIT.findings)
  })

  addCommand(
    'grant <caller> <tokens>',
    'Gives tokens back to a caller, such as those a crashed node holds reserved: under every rule that counts tokens, or the one of --rule. At most what is used.',
  ).action(async (caller: string, text: string, options: LimitOptions) => {
    const tokens = readTokens(text)
    const counters = await withStore(options, async (store) => {
      const found = (await find(store, caller, options)).filter(
        ({ name }) => options.rule !== undefined || (name !== undefined && name.unit !== 'requests'),
      )
      for (const { view } of found) await store.grant(view.key, view.caller, tokens)
      return afterwards(found, await find(store, caller, options))
    })
    if (options.json) io.out(asJson({ caller, granted: tokens, counters: counters.map(asData) }))
    else if (counters.length > 0) io.out(`Given back ${tokens} each, now:\n${asTable(counters)}`)
    if (counters.length > 0) return
    io.err(nothing(caller, options))
    finish(EXIT.findings)
  })
}

function addLimitOptions(command: Command): Command {
  return addRedisOptions(command)
    .option('--rule <name>', 'only counters of the limit rule with this name')
    .option(
      '--everywhere',
      'also counters of rules that name another caller part first in `per`; looks at every key of Redis',
    )
    .addOption(
      new Option('--kong-admin <url>', 'Kong’s Admin API, to look up a consumer’s id by its user name').env(
        'PORTCULLIS_KONG_ADMIN_URL',
      ),
    )
    .addOption(
      new Option('--eg-admin <url>', 'Express Gateway’s Admin API, to look up a user’s id by its name').env(
        'PORTCULLIS_EG_ADMIN_URL',
      ),
    )
    .option('--json', 'print JSON')
}

function readTokens(text: string): number {
  const tokens = /^\d{1,16}$/.test(text) ? Number(text) : 0
  if (tokens >= 1 && Number.isSafeInteger(tokens)) return tokens
  throw new PortcullisError('invalid_argument', 'TOKENS is a positive whole number.')
}

/** Opens the store as somebody who only looks at it: a command is no gateway node. */
async function withStore<T>(options: LimitOptions, work: (store: RedisStore) => Promise<T>): Promise<T> {
  const redis = await readRedis(options)
  const { createRedisStore } = await import('../../../policies/stores/redis/store.ts')
  const { systemClock, systemRandom } = await import('../../deps.ts')
  // What goes wrong is thrown by the operation itself.
  const logger = { info() {}, warn() {}, error() {} }
  const deps = { clock: systemClock, random: systemRandom, logger }
  const store = createRedisStore({ redis, on_store_error: 'deny', observer: true }, deps)
  try {
    await store.ready()
    return await work(store)
  } finally {
    await store.close()
  }
}

async function find(store: RedisStore, caller: string, options: LimitOptions): Promise<readonly NamedCounter[]> {
  const { fetchDocument } = await import('../../fetch-document.ts')
  const parts = await callerParts(caller, adminsOf(options), fetchDocument)
  const found: NamedCounter[] = []
  const add = (counter: NamedCounter) => {
    if (options.rule === undefined || counter.name?.rule === options.rule) found.push(counter)
  }
  if (caller === SHARED) {
    for await (const view of store.scan('nobody')) add(named(view))
  } else if (options.everywhere) {
    for await (const view of store.scan('callers')) {
      const counter = named(view)
      const { caller: first, parts: others } = counter.name ?? { caller: undefined, parts: [] }
      if ([first, ...others].some((part) => part !== undefined && parts.includes(part.text))) add(counter)
    }
  } else {
    for (const part of parts) for (const view of await store.show(part)) add(named(view))
  }
  return found.toSorted((a, b) => (a.view.key < b.view.key ? -1 : 1))
}

function adminsOf({ kongAdmin, egAdmin }: LimitOptions): GatewayAdmins {
  return {
    ...(kongAdmin === undefined ? {} : { kong: kongAdmin }),
    ...(egAdmin === undefined ? {} : { expressGateway: egAdmin }),
  }
}

/** The counters of before as they are now: one that counts nothing any more is not among those found. */
function afterwards(before: readonly NamedCounter[], now: readonly NamedCounter[]): readonly NamedCounter[] {
  const byKey = new Map(now.map((counter) => [counter.view.key, counter]))
  return before.map(({ view, name }) => {
    const whole = { ...view, used: 0, remaining: view.counter.burst ?? view.counter.limit, resetMs: 0 }
    return byKey.get(view.key) ?? { view: whole, name }
  })
}

function nothing(caller: string, { rule, kongAdmin, egAdmin, everywhere }: LimitOptions): string {
  const under = rule === undefined ? '' : ` under the rule "${printable(rule)}"`
  const plain = !caller.includes(':') && caller !== SHARED && kongAdmin === undefined && egAdmin === undefined
  const hints = [
    ...(plain ? ['A consumer counts by its id; --kong-admin or --eg-admin looks a user name up.'] : []),
    ...(everywhere || caller === SHARED ? [] : ['--everywhere finds rules that name another caller part first.']),
  ]
  return [`"${printable(caller)}" has used nothing${under}.`, ...hints].map((line) => `${line}\n`).join('')
}
