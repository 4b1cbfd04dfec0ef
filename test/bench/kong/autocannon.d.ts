/** The parts of autocannon that the bench uses; the package has no types of its own. */
declare module 'autocannon' {
  interface Result {
    readonly '2xx': number
    readonly non2xx: number
    readonly errors: number
    readonly requests: { readonly average: number }
    readonly latency: { readonly p50: number; readonly p99: number }
  }
  interface Options {
    readonly url: string
    readonly method: string
    readonly headers: Readonly<Record<string, string>>
    readonly requests: ReadonlyArray<{ readonly body: string }>
    readonly connections: number
    readonly duration: number
  }
  export default function autocannon(options: Options): Promise<Result>
}
