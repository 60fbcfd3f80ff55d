import { fail, showShape, Tensor, type Part, type Weight } from "@thimble/core"
import { alignmentOf, magic, padded } from "./gguf-header.ts"
import { ggufBytes, ggufFormat, ggufTypeFor, ggufTypes, type GgufDType } from "./gguf-types.ts"
import { valueTypes, type GgufValue } from "./gguf-value.ts"
import { saveFile } from "./save.ts"
import { bytesOf, storedBytes, type Stored } from "./stored.ts"

/** Stored elements of any type of GGUF files; as a function, the bytes are made when they are written. */
export interface GgufTensor {
  readonly type: GgufDType
  /** Row-major. */
  readonly shape: readonly number[]
  readonly bytes: Stored
}

export interface GgufContents {
  /** Metadata in order; readers want `general.architecture`. `general.alignment` decides the padding, 32 unless given. */
  readonly metadata: ReadonlyMap<string, GgufValue>
  /** Tensors in order. Weights are written as they are stored, which has to be a type of GGUF files. */
  readonly tensors: ReadonlyMap<string, Tensor | Weight | GgufTensor>
}

/** A tensor, weight or bytes as they stand in a file. */
function asStored(name: string, value: Tensor | Weight | GgufTensor): GgufTensor {
  if (value instanceof Tensor) return { type: ggufTypeFor(value.dtype), shape: value.shape, bytes: () => value.raw() }
  if (!("parts" in value)) return value
  const { storage, shape } = value
  if (storage === undefined) return fail("value", "encodeGguf", `tensor '${name}': a weight '${value.form}' is made of others`, "write its dense() matrix, or quantize that")
  const type = ggufTypeFor(storage)
  if (typeof storage === "string") return { type, shape, bytes: () => value.parts().values!.raw() }
  return {
    type, shape,
    async bytes() {
      const parts = await Promise.all(Object.entries(value.parts()).map(async ([part, t]): Promise<[string, Part]> => [part, { data: await t.raw(), shape: t.shape, dtype: t.dtype }]))
      return ggufFormat(type)!.join(Object.fromEntries(parts), shape)
    },
  }
}

/** The most bytes a tensor's name may take: what ggml reads. */
const longestName = 63

/** The bytes of a GGUF file (version 3) piece by piece, one tensor in memory at a time. Equal contents give equal bytes. */
export async function* encodeGguf({ metadata, tensors }: GgufContents): AsyncGenerator<Uint8Array> {
  const refuse = (problem: string, hint?: string): never => fail("value", "encodeGguf", problem, hint)
  const alignment = alignmentOf(metadata, refuse)
  const head = new Writer()
  head.u32(magic)
  head.u32(3)
  head.u64(tensors.size)
  head.u64(metadata.size)
  for (const [key, value] of metadata) {
    if (key === "") refuse("a metadata value has an empty key")
    head.text(key)
    head.u32(valueTypes.indexOf(value.type))
    head.value(value)
  }
  let offset = 0
  const all = [...tensors].map(([name, given]) => {
    const value = asStored(name, given), { type, shape } = value
    if (new TextEncoder().encode(name).length > longestName) refuse(`the name '${name}' takes more than ${longestName} bytes`)
    if (shape.length > 4) refuse(`tensor '${name}' has ${shape.length} axes, more than 4`)
    const bytes = ggufBytes(type, shape) ?? refuse(`tensor '${name}': ${type}${showShape(shape)} has rows that are no whole blocks of ${ggufTypes[type].size}`)
    head.text(name)
    head.u32(shape.length)
    for (const n of [...shape].reverse()) head.u64(n)
    head.u32(ggufTypes[type].id)
    head.u64(offset)
    offset += padded(bytes, alignment)
    return { name, value, type, shape, bytes }
  })
  head.pad(padded(head.length, alignment))
  yield head.bytes()
  for (const { name, value, type, shape, bytes } of all) {
    const own = await storedBytes(value)
    if (own.byteLength !== bytes) fail("shape", "encodeGguf", `tensor '${name}': ${type}${showShape(shape)} takes ${bytes} bytes, got ${own.byteLength}`)
    yield own
    // The last tensor is padded too: ggml counts on it.
    if (bytes % alignment !== 0) yield new Uint8Array(padded(bytes, alignment) - bytes)
  }
}

/** Writes a GGUF file, tensor by tensor; it appears under its name when it is complete. */
export const saveGguf = (path: string, contents: GgufContents): Promise<void> => saveFile(path, encodeGguf(contents))

/** Bounds of whole numbers by type. */
const ranges: Partial<Record<GgufValue["type"], readonly [low: number | bigint, high: number | bigint]>> = {
  u8: [0, 255], i8: [-128, 127], u16: [0, 65535], i16: [-32768, 32767], u32: [0, 2 ** 32 - 1], i32: [-(2 ** 31), 2 ** 31 - 1],
  u64: [0n, 2n ** 64n - 1n], i64: [-(2n ** 63n), 2n ** 63n - 1n],
}

const isWhole = (v: unknown): v is number | bigint => typeof v === "bigint" || Number.isInteger(v)

/** Little-endian values into a buffer that grows. */
class Writer {
  length = 0
  private view = new DataView(new ArrayBuffer(4096))

  private room(n: number): number {
    const at = this.length
    this.length += n
    if (this.length > this.view.byteLength) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.view.byteLength))
      larger.set(new Uint8Array(this.view.buffer, 0, at))
      this.view = new DataView(larger.buffer)
    }
    return at
  }
  bytes(): Uint8Array {
    return new Uint8Array(this.view.buffer, 0, this.length)
  }
  pad(length: number): void {
    this.room(length - this.length)
  }
  put(bytes: Uint8Array): void {
    const at = this.room(bytes.length)
    new Uint8Array(this.view.buffer).set(bytes, at)
  }
  u8(v: number): void { const at = this.room(1); this.view.setUint8(at, v) }
  i8(v: number): void { const at = this.room(1); this.view.setInt8(at, v) }
  u16(v: number): void { const at = this.room(2); this.view.setUint16(at, v, true) }
  i16(v: number): void { const at = this.room(2); this.view.setInt16(at, v, true) }
  u32(v: number): void { const at = this.room(4); this.view.setUint32(at, v, true) }
  i32(v: number): void { const at = this.room(4); this.view.setInt32(at, v, true) }
  f32(v: number): void { const at = this.room(4); this.view.setFloat32(at, v, true) }
  f64(v: number): void { const at = this.room(8); this.view.setFloat64(at, v, true) }
  u64(v: number | bigint): void { const at = this.room(8); this.view.setBigUint64(at, BigInt(v), true) }
  i64(v: number | bigint): void { const at = this.room(8); this.view.setBigInt64(at, BigInt(v), true) }

  text(s: string): void {
    if (!s.isWellFormed()) fail("value", "encodeGguf", `${JSON.stringify(s)} is not valid Unicode`)
    const bytes = new TextEncoder().encode(s)
    this.u64(bytes.length)
    this.put(bytes)
  }
  value(v: GgufValue): void {
    const range = ranges[v.type]
    if (range && !(isWhole(v.value) && v.value >= range[0] && v.value <= range[1])) fail("value", "encodeGguf", `a metadata value of type ${v.type} is ${String(v.value)}`, `whole numbers from ${range[0]} to ${range[1]}`)
    switch (v.type) {
      case "array":
        this.u32(valueTypes.indexOf(v.of))
        this.u64(v.value.length)
        if (v.of === "string") v.value.forEach((s) => this.text(s))
        else if (v.of === "bool") v.value.forEach((b) => this.u8(Number(b)))
        else if (v.of === "array") v.value.forEach((a) => this.value(a))
        else this.put(bytesOf(v.value))
        return
      case "string": return this.text(v.value)
      case "bool": return this.u8(Number(v.value))
      case "u64": case "i64": return this[v.type](v.value)
      default: return this[v.type](v.value)
    }
  }
}
