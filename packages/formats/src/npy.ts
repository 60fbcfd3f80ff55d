import { fail, fromBytes, showShape, sizeOf, Tensor } from "@thimble/core"
import { headLength, npyArray, npyHead, npyTypes, parseNpyHeader, prefixBytes, type NpyDType, type NpyHeader } from "./npy-header.ts"
import type { StoredArray } from "./safetensors-header.ts"
import { saveFile } from "./save.ts"
import { openSource, type SourceLike, type SourceOptions } from "./source.ts"
import { bytesOf, storedBytes, type Stored } from "./stored.ts"

/** An array of an npy file, as it is in memory once it is asked for: row-major and little-endian. */
export interface NpyFile extends AsyncDisposable {
  readonly name: string
  readonly dtype: NpyDType
  readonly shape: readonly number[]
  /** The elements; the bits of f16 in 16 bits each. */
  array(): Promise<StoredArray>
  /** A tensor on the current device. 64-bit integers are read with {@link array}. */
  tensor(): Promise<Tensor>
  close(): Promise<void>
}

/** Opens an npy file (NumPy's `save`), in either order of axes and of bytes. */
export async function openNpy(from: SourceLike, options: SourceOptions = {}): Promise<NpyFile> {
  const source = await openSource(from, options)
  const refuse = (problem: string, hint?: string): never => fail("format", "npy", `${source.name}: ${problem}`, hint)
  try {
    const length = headLength(await source.read(0, Math.min(prefixBytes, source.bytes)), refuse)
    if (length > source.bytes) refuse(`the header ends at byte ${length}, but the file has ${source.bytes}`, "was it cut off?")
    const header = parseNpyHeader(await source.read(0, length), source.bytes, refuse)
    return { name: source.name, ...reader(source.name, header, () => source.read(header.begin, header.begin + header.bytes)), close: source.close, [Symbol.asyncDispose]: source.close }
  } catch (e) {
    await source.close()
    throw e
  }
}

/** What can be read of an array, wherever its bytes are. */
export function reader(name: string, header: NpyHeader, read: () => Promise<Uint8Array>): Pick<NpyFile, "dtype" | "shape" | "array" | "tensor"> {
  const { dtype, shape } = header
  const array = async (): Promise<StoredArray> => npyArray(header, await read())
  const tensor = async (): Promise<Tensor> => {
    if (dtype === "i64" || dtype === "u64") return fail("dtype", "npy", `${name} is ${dtype}, which no tensor holds`, "read its array()")
    const bytes = bytesOf(await array())
    const odd = dtype === "bool" ? bytes.findIndex((b) => b > 1) : -1
    if (odd >= 0) fail("format", "npy", `${name}: element ${odd} is ${bytes[odd]}, but a bool is 0 or 1`)
    return fromBytes(bytes, shape, dtype)
  }
  return { dtype, shape, array, tensor }
}

/** Elements of a type that tensors need not know, little-endian and row-major. */
export interface NpyArray { readonly dtype: NpyDType; readonly shape: readonly number[]; readonly bytes: Stored }

/** The bytes of an npy file piece by piece. NumPy knows no bf16: cast those. */
export async function* encodeNpy(value: Tensor | NpyArray): AsyncGenerator<Uint8Array> {
  const { dtype, shape } = value
  if (!Object.hasOwn(npyTypes, dtype)) fail("dtype", "encodeNpy", `no type of npy files holds ${dtype}`, dtype === "bf16" ? "cast it to f32, which is exact" : undefined)
  const type = dtype as NpyDType, bytes = await storedBytes(value), need = npyTypes[type].bytes * sizeOf(shape)
  if (bytes.byteLength !== need) fail("shape", "encodeNpy", `${type}${showShape(shape)} takes ${need} bytes, got ${bytes.byteLength}`)
  yield npyHead(type, shape)
  if (need > 0) yield bytes
}

/** Writes an npy file; it appears under its name when it is complete. */
export const saveNpy = (path: string, value: Tensor | NpyArray): Promise<void> => saveFile(path, encodeNpy(value))
