import { fail } from "@thimble/core"
import type { Source } from "./source.ts"

/** Thrown where a header goes on beyond the bytes read so far. */
class Unread extends Error {}

const first = 1 << 16
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

export function isText(bytes: Uint8Array): boolean {
  try {
    utf8.decode(bytes)
    return true
  } catch {
    return false
  }
}

/** What errors call a value; a function, where it would otherwise be spelled out for each of very many. */
export type What = string | (() => string)
const spelled = (what: What): string => (typeof what === "string" ? what : what())

/** Reads little-endian values one after the other. Nothing is allocated for what the file has no room for. */
export class Cursor {
  /** Offset in the file of what is read next. */
  at = 0
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private readonly total: number
  private readonly refuse: (at: number, problem: string, hint?: string) => never

  constructor(bytes: Uint8Array, total: number, refuse: (at: number, problem: string, hint?: string) => never) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.total = total
    this.refuse = refuse
  }

  /** Refuses the value that begins at byte `at`. */
  fail(at: number, problem: string, hint?: string): never {
    return this.refuse(at, problem, hint)
  }

  /** Room for `count` values of at least `size` bytes each, or the file ends too early. */
  expect(count: number | bigint, size: number, what: What): number {
    const n = Number(count)
    if (n * size > this.total - this.at) this.refuse(this.at, `${spelled(what)} would take ${size === 1 ? "" : "at least "}${n * size} bytes, but the file has ${this.total - this.at} more`, "is it whole?")
    return n
  }

  take(n: number, what: What): Uint8Array {
    const begin = this.step(this.expect(n, 1, what), what)
    return this.bytes.subarray(begin, begin + n)
  }
  private step(n: number, what: What): number {
    const begin = this.at
    if (begin + n > this.total) this.refuse(begin, `the file ends within ${spelled(what)}`, "is it whole?")
    if (begin + n > this.bytes.length) throw new Unread()
    this.at = begin + n
    return begin
  }

  u8(what: string): number { return this.view.getUint8(this.step(1, what)) }
  i8(what: string): number { return this.view.getInt8(this.step(1, what)) }
  u16(what: string): number { return this.view.getUint16(this.step(2, what), true) }
  i16(what: string): number { return this.view.getInt16(this.step(2, what), true) }
  u32(what: string): number { return this.view.getUint32(this.step(4, what), true) }
  i32(what: string): number { return this.view.getInt32(this.step(4, what), true) }
  f32(what: string): number { return this.view.getFloat32(this.step(4, what), true) }
  f64(what: string): number { return this.view.getFloat64(this.step(8, what), true) }
  u64(what: string): bigint { return this.view.getBigUint64(this.step(8, what), true) }
  i64(what: string): bigint { return this.view.getBigInt64(this.step(8, what), true) }

  /** A u64 as a number: exact up to 2⁵³, beyond which nothing has a length. */
  length(what: What): number {
    const at = this.step(8, what)
    return this.view.getUint32(at + 4, true) * 2 ** 32 + this.view.getUint32(at, true)
  }
  copy(n: number, into: Uint8Array, at: number): void {
    const begin = this.step(n, "bytes that were there before")
    for (let i = 0; i < n; i++) into[at + i] = this.bytes[begin + i]!
  }
  /** Passes over bytes that the file must have. */
  skip(n: number, what: What): void {
    this.step(this.expect(n, 1, what), what)
  }

  /** A string of a known number of bytes. */
  text(length: number | bigint, what: What): string {
    const at = this.at
    const bytes = this.take(this.expect(length, 1, what), what)
    try {
      return utf8.decode(bytes)
    } catch {
      return this.refuse(at, `${spelled(what)} is not valid UTF-8`)
    }
  }
}

/**
 * Reads a header whose length only reading it tells: `parse` runs on ever longer beginnings of the file, until it gets
 * through. `what` names the format, in errors.
 */
export async function readHeader<T>(what: string, source: Source, parse: (cursor: Cursor) => T): Promise<T> {
  const refuse = (at: number, problem: string, hint?: string): never => fail("format", what, `${source.name}: ${problem} (byte ${at})`, hint)
  for (let length = first; ; length *= 4) {
    const bytes = await source.read(0, Math.min(length, source.bytes))
    try {
      return parse(new Cursor(bytes, source.bytes, refuse))
    } catch (e) {
      if (!(e instanceof Unread) || length >= source.bytes) throw e
    }
  }
}
