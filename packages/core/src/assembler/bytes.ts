// A growing byte buffer with WebAssembly's encodings (LEB128, little-endian floats, UTF-8 names).

const scratch = new DataView(new ArrayBuffer(8))

export class Bytes {
  private bytes = new Uint8Array(64)
  private size = 0

  get length(): number {
    return this.size
  }
  /** A view of what was written so far. */
  get data(): Uint8Array {
    return this.bytes.subarray(0, this.size)
  }

  private reserve(count: number): void {
    if (this.size + count <= this.bytes.length) return
    const larger = new Uint8Array(Math.max(2 * this.bytes.length, this.size + count))
    larger.set(this.data)
    this.bytes = larger
  }
  private push(byte: number): void {
    if (this.size === this.bytes.length) this.reserve(1)
    this.bytes[this.size++] = byte
  }

  u8(value: number): this {
    this.push(value & 0xff)
    return this
  }

  /** Unsigned LEB128 of a 32-bit value; a negative number counts as its two's complement (an address above 2 GiB). */
  u32(value: number): this {
    if (!Number.isInteger(value) || value > 0xffff_ffff || value < -0x8000_0000)
      throw new RangeError(`not a 32-bit integer: ${value}`)
    let rest = value >>> 0
    while (rest > 0x7f) {
      this.push((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.push(rest)
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
        this.push(low)
        return this
      }
      this.push(low | 0x80)
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

  all(bytes: ArrayLike<number>): this {
    this.reserve(bytes.length)
    this.bytes.set(bytes, this.size)
    this.size += bytes.length
    return this
  }

  /** A length-prefixed copy of another buffer: sections and function bodies. */
  sized(bytes: Bytes): this {
    return this.u32(bytes.length).all(bytes.data)
  }

  private scratch(count: number): this {
    for (let i = 0; i < count; i++) this.push(scratch.getUint8(i))
    return this
  }
}
