/** `enforce_stream`: a stream that runs past what was reserved for it is ended properly. */

import { describe, expect, it } from 'vitest'
import { APIS } from './apis.ts'
import {
  call,
  events,
  expectRemainingBetween,
  lastReceived,
  remainingIn,
  type Stage,
  saidInStream,
  worldOf,
} from './world.ts'

export function streamCuts(stage: Stage): void {
  describe('a stream past its reservation', () => {
    for (const api of APIS) {
      it(`${api.name}: is ended with the API’s own last events`, async () => {
        const world = worldOf(stage)
        // It would say more, and waits for the gateway to hang up.
        const knobs = { disobey: 1, output: 2_000, hang: 600 }
        const reply = await call(world, 'roomy-cut', api, { stream: true, maxTokens: 100, knobs })
        const held = remainingIn(reply)
        const data = await events(reply)
        expect(data.at(-1)).toMatch(api.lastEvent)
        const words = saidInStream(api, data).split(' ').length
        expect(words).toBeGreaterThan(50)
        expect(words).toBeLessThan(400)
        expect(await lastReceived(world).ended).toBe('gone')
        await expectRemainingBetween(world, 'roomy-cut', held - 300, held + 100)
      })
    }

    it('one within it is not touched', async () => {
      const world = worldOf(stage)
      for (const api of APIS) {
        const data = await events(await call(world, 'roomy-cut', api, { stream: true, maxTokens: 100 }))
        expect(saidInStream(api, data)).toBe(lastReceived(world).generation?.pieces.join(''))
      }
    })
  })
}
