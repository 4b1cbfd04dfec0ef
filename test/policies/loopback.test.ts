import { describe, expect, test } from 'vitest'
import { isLoopback } from '../../policies/loopback.ts'

describe('isLoopback', () => {
  test.each([
    'http://localhost',
    'http://127.0.0.1:8001',
    'http://127.1',
    'http://127.255.255.254',
    'http://[::1]:8001',
  ])('%s stays on this machine', (url) => {
    expect(isLoopback(new URL(url).hostname)).toBe(true)
  })

  test.each([
    'http://localhost.example.com',
    'http://127.0.0.1.example.com',
    'http://127.example.com',
    'http://0.0.0.0',
    'http://10.0.0.1',
    'http://128.0.0.1',
    'http://[::]',
    'http://[::2]',
    'http://[fe80::1]',
    'http://example.com/127.0.0.1',
  ])('%s does not', (url) => {
    expect(isLoopback(new URL(url).hostname)).toBe(false)
  })
})
