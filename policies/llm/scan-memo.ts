/**
 * Events of a stream repeat most of their bytes: what stands before and behind the text is the same in each. A memo
 * keeps one such stretch and the places in it where a scan had nothing open and had found nothing. Where new bytes
 * equal it up to such a place, the scan goes on from there: equal bytes lead to the same state.
 */
export interface ScanMemo {
  /** Where a scan that starts at `at` may go on; `at` itself when nothing is known. */
  resume(bytes: Uint8Array, at: number, end: number): number
  /** The place that the last `resume` returned is the opening quote of a text. */
  readonly onText: boolean
  /** After a `resume` that gained little: whether to scan from `at` instead, and note the places. */
  record(at: number): boolean
  /** The byte at `at` opens a key, nothing is half read and nothing was found. */
  note(at: number): void
  /** The stretch ends before `end`; `onText` when its last byte opens a text. */
  keep(bytes: Uint8Array, end: number, onText: boolean): void
}

const MAX_BYTES = 2048
const MAX_PLACES = 64
/** Where every event differs, recording each would cost more than it saves. */
const FAILURES_TO_SLOW_DOWN = 8
const SLOW_INTERVAL = 64

export function createScanMemo(): ScanMemo {
  const kept = new DataView(new ArrayBuffer(MAX_BYTES))
  const places = new Int32Array(MAX_PLACES)
  let length = 0
  let count = 0
  let endsOnText = false
  let onText = false
  let failures = 0
  let gained = false
  let start = 0
  let viewed: Uint8Array | undefined
  let view: DataView = kept

  function resume(bytes: Uint8Array, at: number, end: number): number {
    if (viewed !== bytes) {
      viewed = bytes
      view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    }
    const equal = equalLength(at, Math.min(length, end - at))
    onText = endsOnText && equal === length
    const skipped = onText ? length - 1 : lastPlace(equal)
    gained = skipped * 2 > length
    failures = gained ? 0 : failures + 1
    return at + skipped
  }

  /** The last place before `equal`: the byte at the place must be equal as well, since what was before ends there. */
  function lastPlace(equal: number): number {
    let index = count - 1
    while (index >= 0 && (places[index] as number) >= equal) index--
    return index < 0 ? 0 : (places[index] as number)
  }

  function equalLength(at: number, most: number): number {
    const other = view
    let equal = 0
    // Eight bytes at a time. Numbers that are equal without their bytes being so need zero bytes, and none are kept.
    while (equal + 8 <= most && other.getFloat64(at + equal, true) === kept.getFloat64(equal, true)) equal += 8
    while (equal < most && other.getUint8(at + equal) === kept.getUint8(equal)) equal++
    return equal
  }

  function record(at: number): boolean {
    if (gained || (failures > FAILURES_TO_SLOW_DOWN && failures % SLOW_INTERVAL !== 0)) return false
    start = at
    count = 0
    length = 0
    endsOnText = false
    return true
  }

  function note(at: number): void {
    if (count < MAX_PLACES) places[count++] = at - start
  }

  function keep(bytes: Uint8Array, end: number, isText: boolean): void {
    if (end - start > MAX_BYTES || bytes.subarray(start, end).includes(0)) return
    length = end - start
    endsOnText = isText
    for (let at = 0; at < length; at++) kept.setUint8(at, bytes[start + at] as number)
  }

  return {
    resume,
    record,
    note,
    keep,
    get onText() {
      return onText
    },
  }
}
