import { describe, expect, test } from 'vitest'
import { haveRedisServer } from '../../support/redis/backends.ts'
import { revocationTrials } from '../../support/revocation/trials.ts'

const TRIALS = 20

describe.skipIf(!haveRedisServer('two nodes')).concurrent('two nodes, each a process of its own', () => {
  // How long it may take is measured by the bench `revocation`.
  test.each([
    ['with pub/sub blocked', true],
    ['with pub/sub', false],
  ])('%s both refuse what is revoked, and not before', { timeout: 120_000 }, async (how, blocked) => {
    const waits = await revocationTrials({ count: TRIALS, blocked })
    expect(waits).toHaveLength(TRIALS)
    console.info(`two processes ${how}: the longest of ${TRIALS} revocations took ${Math.max(...waits).toFixed(0)} ms`)
  })
})
