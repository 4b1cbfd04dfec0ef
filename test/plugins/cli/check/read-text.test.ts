import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { readText } from '../../../../plugins/cli/check/read-text.ts'

const folder = mkdtempSync(join(tmpdir(), 'read-text-'))
afterAll(() => rmSync(folder, { recursive: true }))

const path = join(folder, 'kong.yml')

it.each(['', 'x', '\u00e9\u00e9\u00e9\u00e9\u00e9'])('reads %j, which is no more than 10 bytes', async (text) => {
  writeFileSync(path, text)
  expect(await readText(path, 10)).toBe(text)
})

it('refuses one byte more', async () => {
  writeFileSync(path, 'x'.repeat(11))
  await expect(readText(path, 10)).rejects.toThrow('is larger than 10 bytes')
})

it('ends with what has no end', async () => {
  await expect(readText('/dev/zero', 100_000)).rejects.toThrow('/dev/zero: is larger than 100000 bytes')
})

it.each([
  ['missing', 'ENOENT'],
  ['.', 'EISDIR'],
])('says why %s cannot be read', async (name, code) => {
  await expect(readText(join(folder, name), 10)).rejects.toThrow(`cannot be read (${code})`)
})
