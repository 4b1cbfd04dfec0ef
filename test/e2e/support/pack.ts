/** The plugin server's entry: the sources, which Node runs as they are. */
export function packScript(): string {
  return new URL('../../../plugins/kong/main.ts', import.meta.url).pathname
}
