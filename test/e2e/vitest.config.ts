import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/e2e/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 600_000,
    // Every suite starts Kong on the same ports.
    fileParallelism: false,
    maxWorkers: 1,
  },
})
