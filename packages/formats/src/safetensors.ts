import { fail, fromBytes, showShape, Tensor, type DType } from "@thimble/core"
import { fileSystem } from "./file-system.ts"
import { bitsOf, fileDType, headerLimit, heldBy, parseHeader, storedBytes, type Entry, type FileDType } from "./safetensors-header.ts"
import { openSource, type SourceLike } from "./source.ts"

/** An open file: its header is checked, its tensors are read when asked for. */
export interface SafetensorsFile extends AsyncDisposable {
  readonly name: string
  readonly metadata: Readonly<Record<string, string>>
  /** Tensors by name, in the order of the header. */
  readonly entries: ReadonlyMap<string, Entry>
  /** A tensor's stored bytes, little-endian, row-major. */
  bytes(name: string): Promise<Uint8Array>
  /** A tensor on the current device. Types that no tensor holds (64-bit integers, 8-bit floats) are read with {@link bytes}. */
  tensor(name: string): Promise<Tensor>
  /** All tensors by name. */
  tensors(): Promise<Record<string, Tensor>>
  close(): Promise<void>
}

/** Opens a safetensors file and checks its header against the file's size before anything is allocated. */
export async function openSafetensors(from: SourceLike): Promise<SafetensorsFile> {
  const source = await openSource(from)
  try {
    const { name: file, bytes: size } = source
    if (size < 8) fail("format", "safetensors", `${file}: ${size} bytes are too few, the length of the header alone takes 8`)
    const length = new DataView((await source.read(0, 8)).slice().buffer).getBigUint64(0, true)
    if (length > headerLimit) fail("format", "safetensors", `${file}: the header would take ${length} bytes, more than ${headerLimit}`, "is it a safetensors file?")
    const dataStart = 8 + Number(length)
    if (dataStart > size) fail("format", "safetensors", `${file}: the header ends at byte ${dataStart}, but the file has ${size}`, "was the download cut off?")
    const { metadata, entries } = parseHeader(file, await source.read(8, dataStart), dataStart, size)

    const entry = (name: string): Entry => entries.get(name) ?? fail("value", "safetensors", `${file}: no tensor '${name}'`, nearby(name, entries))
    const bytes = async (name: string): Promise<Uint8Array> => source.read(entry(name).begin, entry(name).end)
    const tensor = async (name: string): Promise<Tensor> => {
      const { dtype, shape, begin } = entry(name)
      const held: DType = heldBy(dtype) ?? fail("dtype", "safetensors", `${file}: tensor '${name}' is ${dtype}, which no tensor holds`, "read its bytes()")
      const stored = await bytes(name)
      const odd = held === "bool" ? stored.findIndex((b) => b > 1) : -1
      if (odd >= 0) fail("format", "safetensors", `${file}: tensor '${name}' has ${stored[odd]} at byte ${begin + odd}, but a bool is 0 or 1`)
      return fromBytes(stored, shape, held)
    }
    const tensors = async (): Promise<Record<string, Tensor>> => {
      const out: [string, Tensor][] = []
      for (const name of entries.keys()) out.push([name, await tensor(name)])
      return Object.fromEntries(out)
    }
    return { name: file, metadata, entries, bytes, tensor, tensors, close: source.close, [Symbol.asyncDispose]: source.close }
  } catch (e) {
    await source.close()
    throw e
  }
}

function nearby(name: string, entries: ReadonlyMap<string, Entry>): string {
  const leaf = name.split(".").at(-1)!
  const found = [...entries.keys()].filter((k) => k.includes(leaf))
  const shown = found.length > 0 ? found : [...entries.keys()]
  return `it has ${shown.slice(0, 5).join(", ")}${shown.length > 5 ? ", …" : ""}`
}

/** Elements of a type that tensors need not know, as they are stored. */
export interface RawTensor { readonly dtype: FileDType; readonly shape: readonly number[]; readonly bytes: Uint8Array }

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
    const bytes = storedBytes(dtype, value.shape)
    if (name === "__metadata__") fail("value", "encodeSafetensors", "'__metadata__' cannot name a tensor", "pass strings as options.metadata")
    if (!name.isWellFormed()) fail("value", "encodeSafetensors", `the name ${JSON.stringify(name)} is not valid Unicode`)
    if (bytes === undefined || (!(value instanceof Tensor) && value.bytes.byteLength !== bytes))
      fail("shape", "encodeSafetensors", `tensor '${name}': ${dtype}${showShape(value.shape)} does not fit ${value instanceof Tensor ? "bytes" : `${value.bytes.byteLength} bytes`}`)
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
  for (const { value, bytes } of all) {
    if (bytes === 0) continue
    if (!(value instanceof Tensor)) yield value.bytes
    else {
      const raw = await value.raw()
      yield new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength)
    }
  }
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  let i = 0
  while (i < a.length && i < b.length && a[i] === b[i]) i++
  return (a[i] ?? -1) - (b[i] ?? -1)
}

/** Writes tensors to a file, tensor by tensor; the file appears under its name when it is complete. */
export async function saveSafetensors(path: string, tensors: Readonly<Record<string, Tensor | RawTensor>>, options: SafetensorsOptions = {}): Promise<void> {
  const { rename, rm, writeFile } = await fileSystem("saveSafetensors")
  const partial = `${path}.partial`
  try {
    await writeFile(partial, encodeSafetensors(tensors, options))
    await rename(partial, path)
  } catch (e) {
    await rm(partial, { force: true })
    throw e
  }
}
