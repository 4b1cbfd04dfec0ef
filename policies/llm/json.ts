/** Strict JSON for hostile bodies. */

/** One top-level member of an object, with byte offsets into its source. */
export interface JsonMember {
  readonly key: string
  /** Start of the key's opening quote. */
  readonly start: number
  /** Start and end (exclusive) of the value. */
  readonly valueStart: number
  readonly valueEnd: number
}
