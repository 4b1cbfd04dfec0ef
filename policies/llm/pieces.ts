/** Bytes that come in pieces. */

import { join } from './json-edit.ts'

/** A piece costs a hundred bytes beside its own: an upstream that sends single ones must not make a megabyte of ten thousand. */
const MOST_PIECES = 1024

/** Keeps one more piece, and the list short. */
export function addPiece(pieces: Uint8Array[], piece: Uint8Array): void {
  if (pieces.length >= MOST_PIECES) pieces.splice(0, pieces.length, join(pieces))
  pieces.push(piece)
}
