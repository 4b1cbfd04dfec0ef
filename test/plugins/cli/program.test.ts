import { expect, it } from 'vitest'
import { EXIT, type Io } from '../../../plugins/cli/io.ts'
import { type AddCommands, run } from '../../../plugins/cli/program.ts'
import { VERSION } from '../../../plugins/version.ts'
import { PortcullisError } from '../../../policies/errors.ts'
import { readText } from '../../support/sources.ts'

function recording() {
  const io = { outText: '', errText: '', env: {} }
  const writing: Io & typeof io = {
    ...io,
    out: (text) => {
      writing.outText += text
    },
    err: (text) => {
      writing.errText += text
    },
  }
  return writing
}

const groups: readonly AddCommands[] = [
  (program, _io, finish) => {
    program.command('look').action(() => finish(EXIT.findings))
    program.command('quote').action(() => {
      throw new PortcullisError('unreachable', '\u001b[2Jone\u202e\ntwo')
    })
    program.command('fail').action(() => {
      throw new PortcullisError('unreachable', 'the store is not there')
    })
  },
]

it('says its version, which is the package’s', async () => {
  const io = recording()
  expect(await run(['--version'], io, groups)).toBe(EXIT.ok)
  expect(io.outText).toBe(`${VERSION}\n`)
  expect((JSON.parse(readText('package.json')) as { version: string }).version).toBe(VERSION)
})

it('ends as its command says', async () => {
  expect(await run(['look'], recording(), groups)).toBe(EXIT.findings)
})

it('says what went wrong on standard error', async () => {
  const io = recording()
  expect(await run(['fail'], io, groups)).toBe(EXIT.failed)
  expect(io.errText).toBe('portcullis: the store is not there\n')
  expect(io.outText).toBe('')
})

it('lets nothing that an error quotes command the terminal', async () => {
  const io = recording()
  expect(await run(['quote'], io, groups)).toBe(EXIT.failed)
  expect(io.errText).toBe('portcullis: \\u{1b}[2Jone\\u{202e}\ntwo\n')
})

it('refuses what it does not know', async () => {
  const io = recording()
  expect(await run(['nonsense'], io, groups)).toBe(EXIT.failed)
  expect(io.errText).toContain("unknown command 'nonsense'")
})
