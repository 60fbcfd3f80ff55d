import { bytesOf, fail, sizeOf, type DType, type Tensor } from "@thimble/core"
import { nearby } from "./nearby.ts"
import { arrayOf, headerLimit, heldBy, parseHeader, type Entry, type StoredArray } from "./safetensors-header.ts"
import { openSource, type SourceLike, type SourceOptions } from "./source.ts"
import { Rooms, uploadRows } from "./upload.ts"

/** An open file: its header is checked, its tensors are read when asked for. */
export interface SafetensorsFile extends AsyncDisposable {
  readonly name: string
  readonly metadata: Readonly<Record<string, string>>
  /** Tensors by name, in the order of the header. */
  readonly entries: ReadonlyMap<string, Entry>
  /** A tensor's stored bytes, little-endian, row-major. */
  bytes(name: string): Promise<Uint8Array>
  /**
   * A tensor's stored elements: bigints for 64-bit integers; the bits of F16 and BF16 in 16 bits each, of 8-bit floats
   * in a byte each; 4- and 6-bit floats as packed bytes.
   */
  array(name: string): Promise<StoredArray>
  /** A tensor on the current device. Types that no tensor holds (64-bit integers, 8-bit floats) are read with {@link array}. */
  tensor(name: string): Promise<Tensor>
  /** All tensors by name. */
  tensors(): Promise<Record<string, Tensor>>
  close(): Promise<void>
}

/** Opens a safetensors file and checks its header against the file's size before anything is allocated. */
export async function openSafetensors(from: SourceLike, options: SourceOptions = {}): Promise<SafetensorsFile> {
  const source = await openSource(from, options)
  try {
    const { name: file, bytes: size } = source
    if (size < 8) fail("format", "safetensors", `${file}: ${size} bytes are too few, the length of the header alone takes 8`)
    const length = new DataView((await source.read(0, 8)).slice().buffer).getBigUint64(0, true)
    if (length > headerLimit) fail("format", "safetensors", `${file}: the header would take ${length} bytes, more than ${headerLimit}`, "is it a safetensors file?")
    const dataStart = 8 + Number(length)
    if (dataStart > size) fail("format", "safetensors", `${file}: the header ends at byte ${dataStart}, but the file has ${size}`, "was the download cut off?")
    const { metadata, entries } = parseHeader(file, await source.read(8, dataStart), dataStart, size)

    const entry = (name: string): Entry => entries.get(name) ?? fail("value", "safetensors", `${file}: no tensor '${name}'`, nearby(name, entries.keys()))
    const bytes = async (name: string): Promise<Uint8Array> => source.read(entry(name).begin, entry(name).end)
    const rooms = new Rooms()
    const close = async (): Promise<void> => {
      rooms.close()
      await source.close()
    }
    const array = async (name: string): Promise<StoredArray> => arrayOf(entry(name).dtype, await bytes(name))
    const tensor = async (name: string): Promise<Tensor> => {
      const { dtype, shape, begin } = entry(name)
      const held: DType = heldBy(dtype) ?? fail("dtype", "safetensors", `${file}: tensor '${name}' is ${dtype}, which no tensor holds`, "read its array()")
      return uploadRows({ source, tensor: name, begin, rows: sizeOf(shape), rowBytes: bytesOf(held) }, shape, held, rooms, held === "bool" ? (stored, at) => {
        const odd = stored.findIndex((b) => b > 1)
        if (odd >= 0) fail("format", "safetensors", `${file}: tensor '${name}' has ${stored[odd]} at byte ${begin + at + odd}, but a bool is 0 or 1`)
      } : undefined)
    }
    return { name: file, metadata, entries, bytes, array, tensor, tensors: () => readAll(entries.keys(), tensor), close, [Symbol.asyncDispose]: close }
  } catch (e) {
    await source.close()
    throw e
  }
}

/** Tensors one after the other, by name. */
export async function readAll(names: Iterable<string>, read: (name: string) => Promise<Tensor>): Promise<Record<string, Tensor>> {
  const out: [string, Tensor][] = []
  for (const name of names) out.push([name, await read(name)])
  return Object.fromEntries(out)
}
