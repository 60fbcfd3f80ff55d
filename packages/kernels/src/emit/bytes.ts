// A growing byte buffer with WebAssembly's encodings (LEB128, little-endian floats, UTF-8 names).

const scratch = new DataView(new ArrayBuffer(8))

export class Bytes {
  readonly data: number[] = []

  get length(): number {
    return this.data.length
  }

  u8(value: number): this {
    this.data.push(value & 0xff)
    return this
  }

  /** Unsigned LEB128 of a 32-bit value; a negative number counts as its two's complement (an address above 2 GiB). */
  u32(value: number): this {
    if (!Number.isInteger(value) || value > 0xffff_ffff || value < -0x8000_0000)
      throw new RangeError(`not a 32-bit integer: ${value}`)
    let rest = value >>> 0
    while (rest > 0x7f) {
      this.data.push((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.data.push(rest)
    return this
  }

  /** Signed LEB128 of a 32-bit value; 2³¹…2³²−1 wrap to negative, so that addresses may be written as unsigned. */
  s32(value: number): this {
    if (!Number.isInteger(value) || value > 0xffff_ffff || value < -0x8000_0000)
      throw new RangeError(`not a 32-bit integer: ${value}`)
    return this.s64(BigInt(value | 0))
  }

  s64(value: bigint): this {
    let rest = BigInt.asIntN(64, value)
    for (;;) {
      const low = Number(rest & 0x7fn)
      rest >>= 7n
      if ((rest === 0n && low < 0x40) || (rest === -1n && low >= 0x40)) {
        this.data.push(low)
        return this
      }
      this.data.push(low | 0x80)
    }
  }

  f32(value: number): this {
    scratch.setFloat32(0, value, true)
    return this.scratch(4)
  }

  f64(value: number): this {
    scratch.setFloat64(0, value, true)
    return this.scratch(8)
  }

  name(text: string): this {
    const utf8 = new TextEncoder().encode(text)
    return this.u32(utf8.length).all(utf8)
  }

  all(bytes: Iterable<number>): this {
    for (const byte of bytes) this.data.push(byte)
    return this
  }

  /** A length-prefixed copy of another buffer: sections and function bodies. */
  sized(bytes: Bytes): this {
    return this.u32(bytes.length).all(bytes.data)
  }

  private scratch(count: number): this {
    for (let i = 0; i < count; i++) this.data.push(scratch.getUint8(i))
    return this
  }
}
