import { showShape, type DType } from "@thimble/core"
import type { StoredArray } from "./safetensors-header.ts"

/** Element types of npy files: those of tensors but for bf16, and 64-bit integers. */
export type NpyDType = Exclude<DType, "bf16"> | "i64" | "u64"

interface DTypeRow {
  /** The code in files, without the byte order. */
  readonly code: string
  readonly bytes: 1 | 2 | 4 | 8
  readonly array: new (buffer: ArrayBufferLike, byteOffset?: number, length?: number) => StoredArray
}
export const npyTypes = {
  f64: { code: "f8", bytes: 8, array: Float64Array },
  f32: { code: "f4", bytes: 4, array: Float32Array },
  f16: { code: "f2", bytes: 2, array: Uint16Array },
  i64: { code: "i8", bytes: 8, array: BigInt64Array },
  i32: { code: "i4", bytes: 4, array: Int32Array },
  i16: { code: "i2", bytes: 2, array: Int16Array },
  i8: { code: "i1", bytes: 1, array: Int8Array },
  u64: { code: "u8", bytes: 8, array: BigUint64Array },
  u32: { code: "u4", bytes: 4, array: Uint32Array },
  u16: { code: "u2", bytes: 2, array: Uint16Array },
  u8: { code: "u1", bytes: 1, array: Uint8Array },
  bool: { code: "b1", bytes: 1, array: Uint8Array },
} as const satisfies Record<NpyDType, DTypeRow>

export interface NpyHeader {
  readonly dtype: NpyDType
  readonly shape: readonly number[]
  /** Whether the first axis runs fastest. */
  readonly fortran: boolean
  /** Whether bytes of an element stand in big-endian order. */
  readonly swapped: boolean
  /** Where elements begin, and what they take. */
  readonly begin: number
  readonly bytes: number
}

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]
/** The most bytes a header may take; real ones take a hundred. */
const headerLimit = 1 << 20
/** What is needed to know how long the header is. */
export const prefixBytes = 12

type Refuse = (problem: string, hint?: string) => never

/** Length of the beginning of a file up to its elements, from its first twelve bytes. */
export function headLength(prefix: Uint8Array, refuse: Refuse): number {
  if (prefix.length < 10 || magic.some((b, i) => prefix[i] !== b)) refuse("does not begin with '\\x93NUMPY' (byte 0)", "is it an npy file?")
  const [major, minor] = [prefix[6]!, prefix[7]!]
  if (major < 1 || major > 3 || minor !== 0) refuse(`is of version ${major}.${minor} (byte 6); 1.0 to 3.0 can be read`)
  const view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength)
  if (major > 1 && prefix.length < prefixBytes) refuse(`ends within the length of the header (byte 8)`)
  const [start, length] = major === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)]
  if (length > headerLimit) refuse(`the header would take ${length} bytes (byte 8), more than ${headerLimit}`)
  return start + length
}

/** Reads the header: the text of a Python dictionary. */
export function parseNpyHeader(head: Uint8Array, fileBytes: number, refuse: Refuse): NpyHeader {
  const start = head[6] === 1 ? 10 : 12
  const text = new TextDecoder(head[6] === 3 ? "utf-8" : "latin1").decode(head.subarray(start)).trim()
  if (!/^\{[^]*\}$/.test(text)) refuse(`the header (byte ${start}) is no dictionary: ${JSON.stringify(text.slice(0, 60))}`)
  const field = (key: string, value: string): RegExpExecArray | undefined => new RegExp(`['"]${key}['"]\\s*:\\s*${value}`).exec(text) ?? undefined
  const descr = field("descr", "(?:'([^']*)'|\"([^\"]*)\"|(\\[))") ?? refuse(`the header (byte ${start}) gives no element type`)
  if (descr[3] !== undefined) refuse("holds records", "save their fields as arrays of their own")
  const code = descr[1] ?? descr[2]!
  const dtype = (Object.keys(npyTypes) as NpyDType[]).find((d) => /^[<>|=]?/.test(code) && npyTypes[d].code === code.replace(/^[<>|=]/, ""))
    ?? refuse(`elements are of the type '${code}', which no tensor holds`)
  const fortran = (field("fortran_order", "(True|False)") ?? refuse(`the header (byte ${start}) does not tell the order of axes`))[1] === "True"
  const inner = (field("shape", "\\(([^)]*)\\)") ?? refuse(`the header (byte ${start}) gives no shape`))[1]!
  const parts = inner.split(",").map((s) => s.trim())
  if (parts.at(-1) === "") parts.pop()
  if (!parts.every((s) => /^\d+L?$/.test(s))) refuse(`the shape is (${inner}), no list of whole numbers`)
  const shape = parts.map((s) => parseInt(s, 10))
  const bytes = shape.includes(0) ? 0 : shape.reduce((n, m) => n * m, npyTypes[dtype].bytes)
  if (!Number.isSafeInteger(bytes)) refuse(`${dtype}${showShape(shape)} has more elements than can be counted`)
  if (head.length + bytes !== fileBytes) refuse(`${dtype}${showShape(shape)} takes ${bytes} bytes, but ${fileBytes - head.length} follow the header (byte ${head.length})`, head.length + bytes > fileBytes ? "was it cut off?" : undefined)
  return { dtype, shape, fortran, swapped: code.startsWith(">") && npyTypes[dtype].bytes > 1, begin: head.length, bytes }
}

/** The beginning of a file, padded so that elements begin at a multiple of 64. */
export function npyHead(dtype: NpyDType, shape: readonly number[]): Uint8Array {
  const { code, bytes } = npyTypes[dtype]
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`
  const text = `{'descr': '${bytes === 1 ? "|" : "<"}${code}', 'fortran_order': False, 'shape': ${tuple}, }`
  // One byte more for the end of the line.
  const length = Math.ceil((10 + text.length + 1) / 64) * 64
  const head = new Uint8Array(length).fill(0x20)
  head.set(magic)
  head.set([1, 0, (length - 10) & 255, (length - 10) >> 8], 6)
  head.set(new TextEncoder().encode(text), 10)
  head[length - 1] = 0x0a
  return head
}

/** Elements in row-major order and little-endian, as an array of their own. */
export function npyArray({ dtype, shape, fortran, swapped }: NpyHeader, stored: Uint8Array): StoredArray {
  const { bytes, array } = npyTypes[dtype]
  const own = stored.slice()
  if (swapped) for (let i = 0; i < own.length; i += bytes) own.subarray(i, i + bytes).reverse()
  const values = new array(own.buffer)
  if (!fortran || shape.length < 2) return values
  const out = new array(new ArrayBuffer(own.length)) as Uint8Array
  const strides = shape.map((_, a) => shape.slice(0, a).reduce((n, m) => n * m, 1))
  const at = shape.map(() => 0)
  for (let i = 0, from = 0; i < out.length; i++) {
    out[i] = (values as Uint8Array)[from]!
    for (let a = shape.length - 1; a >= 0; a--) {
      from += strides[a]!
      if (++at[a]! < shape[a]!) break
      from -= strides[a]! * shape[a]!
      at[a] = 0
    }
  }
  return out
}
