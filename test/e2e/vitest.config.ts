import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/e2e/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 600_000,

    // One Kong at a time is enough for the smallest machine.
    fileParallelism: false,
    maxWorkers: 1,
  },
})
