import type { Cursor } from "../cursor.ts"

/** What is done with fields of a message, by how they are stored. Those that nothing is done with are skipped. */
interface Fields {
  number?(field: number, value: number): void
  float?(field: number, value: number): void
  /** Strings, bytes and messages: from the cursor to byte `end`. */
  bytes?(field: number, end: number): void
}

/** Reads a message of Protocol Buffers that ends at byte `end`. Source: protobuf's encoding guide. */
export function eachField(c: Cursor, end: number, what: string, { number, float, bytes }: Fields): void {
  while (c.at < end) {
    const begin = c.at, key = varint(c, what), field = Number(key >> 3n), wire = Number(key & 7n)
    if (field === 0) c.fail(begin, `${what} has a field of number 0`)
    // Integers are signed: int32 and enums are written as 64 bits.
    if (wire === 0) number?.(field, Number(BigInt.asIntN(64, varint(c, what))))
    else if (wire === 5) {
      const value = c.f32(what)
      float?.(field, value)
    } else if (wire === 1) c.take(8, what)
    else if (wire === 2) {
      const length = varint(c, what), at = c.at
      if (length > BigInt(end - at)) c.fail(begin, `field ${field} of ${what} would take ${length} bytes, but there are ${end - at} more`, "is it whole?")
      const stop = at + Number(length)
      bytes?.(field, stop)
      c.take(stop - c.at, what)
    } else c.fail(begin, `field ${field} of ${what} is stored in the unknown way ${wire}`)
  }
  if (c.at > end) c.fail(end, `${what} goes on beyond its end`)
}

function varint(c: Cursor, what: string): bigint {
  const begin = c.at
  let value = 0n
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = c.u8(what)
    value |= BigInt(byte & 127) << shift
    if (byte < 128) return value
  }
  return c.fail(begin, `${what} has a number of more than ten bytes`)
}
