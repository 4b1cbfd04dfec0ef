import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { MAX_FILE_BYTES, readPrivate, readWhole, replaceWhole, writeNew } from '../../../../plugins/cli/keys/files.ts'
import { temporaryFolder } from './support.ts'

function place(text = 'one', mode = 0o640): string {
  const path = join(temporaryFolder(), 'file')
  writeFileSync(path, text, { mode })
  return path
}

describe('replaceWhole', () => {
  it('keeps mode and leaves nothing beside the file', async () => {
    const path = place()
    await replaceWhole(await readWhole(path), 'two')
    expect(readFileSync(path, 'utf8')).toBe('two')
    expect(statSync(path).mode & 0o777).toBe(0o640)
    expect(readdirSync(join(path, '..'))).toEqual(['file'])
  })

  it('writes where a link points, and leaves the link', async () => {
    const path = place()
    const link = `${path}.link`
    symlinkSync(path, link)
    await replaceWhole(await readWhole(link), 'two')
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(readFileSync(path, 'utf8')).toBe('two')
  })

  it('refuses what was changed since it was read, though it looks as old', async () => {
    const path = place()
    const { atime, mtime } = statSync(path)
    const read = await readWhole(path)
    writeFileSync(path, 'two')
    utimesSync(path, atime, mtime)
    await expect(replaceWhole(read, 'three')).rejects.toMatchObject({ code: 'file_changed' })
    expect(readFileSync(path, 'utf8')).toBe('two')
    expect(readdirSync(join(path, '..'))).toEqual(['file'])
  })

  it('lets one of many at a time write', async () => {
    const path = place('0')
    const read = await readWhole(path)
    const done = await Promise.allSettled(Array.from({ length: 8 }, (_, index) => replaceWhole(read, `by ${index}`)))
    const won = done.filter(({ status }) => status === 'fulfilled')
    expect(won).toHaveLength(1)
    for (const result of done)
      if (result.status === 'rejected')
        expect(['file_busy', 'file_changed']).toContain((result.reason as { code?: string }).code)
  })

  it('waits for nobody who is gone, and for everybody who is there', async () => {
    const path = place()
    // A process that never was, and this very kind of one: the parent.
    writeFileSync(`${path}.lock`, `${hostname()} 999999999 left-behind`)
    await replaceWhole(await readWhole(path), 'two')
    writeFileSync(`${path}.lock`, `${hostname()} ${process.ppid} somebody-else`)
    await expect(replaceWhole(await readWhole(path), 'three')).rejects.toMatchObject({ code: 'file_busy' })
    expect(readFileSync(path, 'utf8')).toBe('two')
  })

  it('says that the folder is gone', async () => {
    const path = place()
    const read = { ...(await readWhole(path)), path: join(path, '..', 'gone', 'file') }
    await expect(replaceWhole(read, 'two')).rejects.toMatchObject({ code: 'unwritable_file' })
  })
})

describe('readWhole', () => {
  it('refuses what is no file of text', async () => {
    const folder = temporaryFolder()
    mkdirSync(join(folder, 'folder'))
    writeFileSync(join(folder, 'binary'), Buffer.from([0xc3, 0x28]))
    symlinkSync(join(folder, 'a'), join(folder, 'b'))
    symlinkSync(join(folder, 'b'), join(folder, 'a'))
    for (const name of ['folder', 'binary', 'a', 'nothing'])
      await expect(readWhole(join(folder, name))).rejects.toMatchObject({ code: 'unreadable_file' })
    await expect(readWhole('/dev/zero')).rejects.toThrow('no regular file')
  })

  it('refuses a huge one before it reads it', async () => {
    const path = place()
    // Sparse: it takes no room.
    writeFileSync(path, 'x')
    truncateSync(path, MAX_FILE_BYTES + 1)
    await expect(readWhole(path)).rejects.toThrow('larger')
  })
})

describe('files of secrets', () => {
  it('are read only when nobody else may', async () => {
    await expect(readPrivate(place('x', 0o644))).rejects.toMatchObject({ code: 'open_to_others' })
    expect(await readPrivate(place('x', 0o640))).toBe('x')
  })

  it('are not left half written', async () => {
    const path = join(temporaryFolder(), 'no', 'file')
    await expect(writeNew(path, 'x')).rejects.toMatchObject({ code: 'unwritable_file' })
    expect(existsSync(path)).toBe(false)
  })
})
