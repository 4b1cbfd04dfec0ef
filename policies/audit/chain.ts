/**
 * The hash chain of a file: each record carries its number, the HMAC of its predecessor and its own, over every byte of
 * its line before that. A seal beside the file says where the chain begins and ends, so that what is missing at either
 * end shows as well.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'

export const GENESIS = '0'.repeat(64)

/** A place in a chain: the last record before it. */
export interface ChainPoint {
  /** 0 before the first record. */
  readonly seq: number
  readonly mac: string
}

export const START: ChainPoint = { seq: 0, mac: GENESIS }

const MAC_MEMBER = ',"portcullis.chain.mac":"'
const MAC_HEX = 64
/** What follows the bytes that a MAC covers: the member, the digits, `"}`. */
const TAIL_LENGTH = MAC_MEMBER.length + MAC_HEX + 2
const POINT = /,"portcullis\.chain\.seq":(\d{1,15}),"portcullis\.chain\.prev":"([0-9a-f]{64})"$/
/** Longest text that {@link POINT} matches. */
const POINT_LENGTH = 200

/** @param json one JSON object with at least one member, without a line break. */
export function sealLine(
  json: string,
  before: ChainPoint,
  key: string,
): { readonly line: string; readonly after: ChainPoint } {
  const seq = before.seq + 1
  const covered = `${json.slice(0, -1)},"portcullis.chain.seq":${seq},"portcullis.chain.prev":"${before.mac}"`
  const mac = recordMac(Buffer.from(covered), key)
  return { line: `${covered}${MAC_MEMBER}${mac}"}`, after: { seq, mac } }
}

export interface ReadLine extends ChainPoint {
  readonly prev: string
}

/** Undefined when the line is no record of a chain or its own MAC is not what the key says. */
export function readLine(line: Uint8Array, key: string): ReadLine | undefined {
  const bytes = Buffer.from(line.buffer, line.byteOffset, line.length)
  const end = bytes.length - TAIL_LENGTH
  if (end <= 0) return undefined
  const tail = bytes.toString('latin1', end)
  if (!tail.startsWith(MAC_MEMBER) || !tail.endsWith('"}')) return undefined
  const mac = tail.slice(MAC_MEMBER.length, -2)
  const point = POINT.exec(bytes.toString('latin1', Math.max(0, end - POINT_LENGTH), end))
  if (point === null || !sameText(mac, recordMac(bytes.subarray(0, end), key))) return undefined
  return { seq: Number(point[1]), prev: point[2] ?? '', mac }
}

function recordMac(covered: Uint8Array, key: string): string {
  return createHmac('sha256', key).update('portcullis.audit.record\0').update(covered).digest('hex')
}

function sameText(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

/** Where a chain begins and ends. `start` moves when old files are deleted. */
export interface ChainSeal {
  readonly start: ChainPoint
  readonly head: ChainPoint
}

/** The seal of `audit.ndjson` lies in `audit.ndjson.chain`. */
export function sealPath(path: string): string {
  return `${path}.chain`
}

/** Whoever writes the file, its seal or its rotated ones holds this lock. */
export function lockPath(path: string): string {
  return `${path}.lock`
}

export function writeSeal({ start, head }: ChainSeal, key: string): string {
  const body = { version: 1, start: plain(start), head: plain(head) }
  return `${JSON.stringify({ ...body, mac: sealMac(body, key) })}\n`
}

/** Undefined when it is malformed or not of this key. */
export function readSeal(text: string, key: string): ChainSeal | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
  const { start, head } = (value ?? {}) as Partial<Record<string, unknown>>
  if (!isPoint(start) || !isPoint(head)) return undefined
  const seal = { start: plain(start), head: plain(head) }
  return writeSeal(seal, key) === text ? seal : undefined
}

function sealMac(body: object, key: string): string {
  return createHmac('sha256', key).update('portcullis.audit.seal\0').update(JSON.stringify(body)).digest('hex')
}

function isPoint(value: unknown): value is ChainPoint {
  const { seq, mac } = (value ?? {}) as Partial<ChainPoint>
  return Number.isSafeInteger(seq) && (seq ?? -1) >= 0 && typeof mac === 'string' && /^[0-9a-f]{64}$/.test(mac)
}

function plain({ seq, mac }: ChainPoint): ChainPoint {
  return { seq, mac }
}
