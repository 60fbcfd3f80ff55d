import { fail, showShape, Tensor } from "@thimble/core"
import { saveFile } from "./save.ts"
import { bitsOf, fileDType, headerLimit, storedBytes as sizeIn, type FileDType } from "./safetensors-header.ts"
import { storedBytes, type Stored } from "./stored.ts"

/** Elements of a type that tensors need not know, as they are stored. */
export interface RawTensor { readonly dtype: FileDType; readonly shape: readonly number[]; readonly bytes: Stored }

export interface SafetensorsOptions {
  /** Strings that travel with the tensors; other libraries want `{ format: "pt" }`. */
  readonly metadata?: Readonly<Record<string, string>>
}

/**
 * The bytes of a safetensors file piece by piece, one tensor in memory at a time. Equal tensors give equal bytes: wide
 * types come first (so that all are aligned), and names in the order of their bytes; the data begins at a multiple of 8.
 */
export async function* encodeSafetensors(tensors: Readonly<Record<string, Tensor | RawTensor>>, { metadata }: SafetensorsOptions = {}): AsyncGenerator<Uint8Array> {
  const all = Object.entries(tensors).map(([name, value]) => {
    const dtype = value instanceof Tensor ? fileDType(value.dtype) : value.dtype
    const bytes = sizeIn(dtype, value.shape)
    if (name === "__metadata__") fail("value", "encodeSafetensors", "'__metadata__' cannot name a tensor", "pass strings as options.metadata")
    if (!name.isWellFormed()) fail("value", "encodeSafetensors", `the name ${JSON.stringify(name)} is not valid Unicode`)
    if (bytes === undefined) fail("shape", "encodeSafetensors", `tensor '${name}': ${dtype}${showShape(value.shape)} does not fit bytes`)
    if ("bytes" in value && typeof value.bytes === "object") checkBytes(name, dtype, value.shape, bytes!, value.bytes)
    return { name, value, dtype, bytes: bytes!, order: new TextEncoder().encode(name) }
  }).sort((a, b) => bitsOf(b.dtype) - bitsOf(a.dtype) || compareBytes(a.order, b.order))

  let at = 0
  const entries = all.map(({ name, value, dtype, bytes }) => [name, { dtype, shape: value.shape, data_offsets: [at, (at += bytes)] }] as const)
  // Written key by key: an object would put keys that look like numbers first.
  const fields = [...(metadata === undefined ? [] : [["__metadata__", metadata] as const]), ...entries]
  const json = new TextEncoder().encode(`{${fields.map(([key, v]) => `${JSON.stringify(key)}:${JSON.stringify(v)}`).join(",")}}`)
  const length = Math.ceil(json.length / 8) * 8
  if (length > headerLimit) fail("value", "encodeSafetensors", `the header would take ${length} bytes, more than ${headerLimit}`, "write several files")
  const head = new Uint8Array(8 + length).fill(0x20)
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true)
  head.set(json, 8)
  yield head
  for (const { name, value, dtype, bytes } of all) {
    if (bytes === 0) continue
    const own = await storedBytes(value)
    checkBytes(name, dtype, value.shape, bytes, own)
    yield own
  }
}

function checkBytes(name: string, dtype: FileDType, shape: readonly number[], bytes: number, { byteLength }: ArrayBufferView): void {
  if (byteLength !== bytes) fail("shape", "encodeSafetensors", `tensor '${name}': ${dtype}${showShape(shape)} does not fit ${byteLength} bytes`)
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  let i = 0
  while (i < a.length && i < b.length && a[i] === b[i]) i++
  return (a[i] ?? -1) - (b[i] ?? -1)
}

/** Writes tensors to a file, tensor by tensor; the file appears under its name when it is complete. */
export const saveSafetensors = (path: string, tensors: Readonly<Record<string, Tensor | RawTensor>>, options: SafetensorsOptions = {}): Promise<void> =>
  saveFile(path, encodeSafetensors(tensors, options))
