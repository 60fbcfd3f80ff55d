import { fail, showShape, type DType, type TypedArray } from "@thimble/core"

/** Element types of safetensors files. */
export type FileDType =
  | "F64" | "F32" | "F16" | "BF16" | "I64" | "I32" | "I16" | "I8" | "U64" | "U32" | "U16" | "U8" | "BOOL"
  | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F6_E2M3" | "F6_E3M2" | "F4"

/** Elements as they are stored. */
export type StoredArray = TypedArray | BigInt64Array | BigUint64Array

interface DTypeRow {
  readonly bits: number
  readonly array: new (buffer: ArrayBufferLike, byteOffset?: number, length?: number) => StoredArray
  /** The tensor dtype that holds an element as it is. */
  readonly dtype?: DType
}

const dtypes = {
  F64: { bits: 64, array: Float64Array, dtype: "f64" },
  F32: { bits: 32, array: Float32Array, dtype: "f32" },
  F16: { bits: 16, array: Uint16Array, dtype: "f16" },
  BF16: { bits: 16, array: Uint16Array, dtype: "bf16" },
  I64: { bits: 64, array: BigInt64Array },
  I32: { bits: 32, array: Int32Array, dtype: "i32" },
  I16: { bits: 16, array: Int16Array, dtype: "i16" },
  I8: { bits: 8, array: Int8Array, dtype: "i8" },
  U64: { bits: 64, array: BigUint64Array },
  U32: { bits: 32, array: Uint32Array, dtype: "u32" },
  U16: { bits: 16, array: Uint16Array, dtype: "u16" },
  U8: { bits: 8, array: Uint8Array, dtype: "u8" },
  BOOL: { bits: 8, array: Uint8Array, dtype: "bool" },
  F8_E4M3: { bits: 8, array: Uint8Array },
  F8_E5M2: { bits: 8, array: Uint8Array },
  F8_E8M0: { bits: 8, array: Uint8Array },
  F6_E2M3: { bits: 6, array: Uint8Array },
  F6_E3M2: { bits: 6, array: Uint8Array },
  F4: { bits: 4, array: Uint8Array },
} as const satisfies Record<FileDType, DTypeRow>

export const dtypeNames = Object.keys(dtypes) as FileDType[]
export const bitsOf = (name: FileDType): number => dtypes[name].bits
/** The tensor dtype that holds a file's elements unchanged, if there is one. */
export const heldBy = (name: FileDType): DType | undefined => (dtypes[name] as { dtype?: DType }).dtype
/** Bytes as elements. They are copied where the elements would not be aligned, as in files of other writers. */
export function arrayOf(name: FileDType, bytes: Uint8Array): StoredArray {
  const { array }: DTypeRow = dtypes[name], width = bitsOf(name) < 8 ? 1 : bitsOf(name) / 8
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % width === 0 ? bytes : bytes.slice()
  return new array(buffer, byteOffset, byteLength / width)
}
const nameOf = new Map(dtypeNames.map((name) => [heldBy(name), name]))
/** The file's name of a tensor dtype; every tensor dtype has one. */
export const fileDType = (dtype: DType): FileDType => nameOf.get(dtype) ?? fail("internal", "safetensors", `no name for ${dtype}`)

/** What the header tells of one tensor. Offsets count from the start of the file. */
export interface Entry { readonly dtype: FileDType; readonly shape: readonly number[]; readonly begin: number; readonly end: number }
export interface Header { readonly metadata: Readonly<Record<string, string>>; readonly entries: ReadonlyMap<string, Entry> }

/** The most bytes a header may take, by the specification. */
export const headerLimit = 100_000_000

/**
 * Reads a header strictly: each tensor's bytes must fit its dtype and shape, and together they must tile the data
 * exactly, so that no two tensors share bytes and none are hidden between them.
 */
export function parseHeader(file: string, bytes: Uint8Array, dataStart: number, fileBytes: number): Header {
  const refuse = (problem: string, hint?: string): never => fail("format", "safetensors", `${file}: ${problem}`, hint)
  if (bytes[0] !== 0x7b) refuse(`the header (byte 8) must begin with '{', got ${bytes.length > 0 ? `byte ${bytes[0]}` : "nothing"}`, "is it a safetensors file?")
  const text = decodeText(bytes) ?? refuse("the header is not valid UTF-8")
  const json = parseObject(text) ?? refuse("the header is not a JSON object")
  const twice = repeatedKey(text)
  if (twice !== undefined) refuse(`the header names '${twice}' twice`)

  const entries = new Map<string, Entry>()
  let metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(json)) {
    if (name !== "__metadata__") entries.set(name, parseEntry(value, dataStart, (problem) => refuse(`tensor '${name}': ${problem}`)))
    else if (isObject(value) && Object.values(value).every((v) => typeof v === "string")) metadata = value as Record<string, string>
    else refuse("__metadata__ must hold strings only")
  }
  let at = dataStart
  for (const [name, { begin, end }] of [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at) refuse(`tensor '${name}' begins at byte ${begin}, ${begin > at ? "after a hole" : "inside another tensor"}: the previous ends at ${at}`)
    if (end > fileBytes) refuse(`tensor '${name}' ends at byte ${end}, but the file has ${fileBytes}`, "was the download cut off?")
    at = end
  }
  if (at !== fileBytes) refuse(`the last tensor ends at byte ${at}, but the file has ${fileBytes}`)
  return { metadata, entries }
}

function parseEntry(value: unknown, dataStart: number, refuse: (problem: string) => never): Entry {
  if (!isObject(value)) refuse("its entry is not an object")
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>
  if (typeof dtype !== "string" || !Object.hasOwn(dtypes, dtype)) return refuse(`unknown dtype ${JSON.stringify(dtype)}`)
  if (!Array.isArray(shape) || !shape.every(isCount)) return refuse(`the shape must be whole numbers, got ${JSON.stringify(shape)}`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) return refuse(`data_offsets must be two whole numbers, got ${JSON.stringify(offsets)}`)
  const [begin, end] = offsets as [number, number]
  const need = storedBytes(dtype as FileDType, shape)
  if (need === undefined || begin + need !== end || !Number.isSafeInteger(dataStart + end))
    return refuse(`${dtype}${showShape(shape)} ${need === undefined ? "has no whole number of bytes" : `takes ${need} bytes`}, but data_offsets are ${begin} … ${end}`)
  return { dtype: dtype as FileDType, shape, begin: dataStart + begin, end: dataStart + end }
}

/** Bytes of a tensor in a file; undefined if that is no whole number, or none that can be counted. */
export function storedBytes(dtype: FileDType, shape: readonly number[]): number | undefined {
  const bits = shape.includes(0) ? 0 : shape.reduce((n, m) => n * m, bitsOf(dtype))
  return Number.isSafeInteger(bits) && bits % 8 === 0 ? bits / 8 : undefined
}

const isCount = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0
const isObject = (x: unknown): x is Record<string, unknown> => typeof x === "object" && x !== null && !Array.isArray(x)

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** A key that stands twice in the outermost object of valid JSON, which JSON.parse would pass over in silence. */
function repeatedKey(text: string): string | undefined {
  const seen = new Set<string>()
  let depth = 0
  for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(?:\s*:)?|[{}[\]]/gs)) {
    if (token === "{" || token === "[") depth++
    else if (token === "}" || token === "]") depth--
    else if (depth === 1 && token.endsWith(":")) {
      const key = JSON.parse(token.slice(0, -1)) as string
      if (seen.has(key)) return key
      seen.add(key)
    }
  }
  return undefined
}
