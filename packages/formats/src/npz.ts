import { fail, ThimbleError, type Tensor } from "@thimble/core"
import { unzipSync, Zip, ZipDeflate, ZipPassThrough, type UnzipFileInfo } from "fflate"
import { nearby } from "./nearby.ts"
import { headLength, parseNpyHeader, prefixBytes } from "./npy-header.ts"
import { encodeNpy, reader, type NpyArray, type NpyFile } from "./npy.ts"
import { readAll } from "./safetensors.ts"
import type { StoredArray } from "./safetensors-header.ts"
import { saveFile } from "./save.ts"
import { openSource, type SourceLike, type SourceOptions } from "./source.ts"

/** Arrays of an npz file by name. The file is in memory, its arrays are unpacked when asked for. */
export interface NpzFile {
  readonly name: string
  readonly names: readonly string[]
  array(name: string): Promise<StoredArray>
  tensor(name: string): Promise<Tensor>
  tensors(): Promise<Record<string, Tensor>>
}

/** Deflate makes nothing smaller than a thousandth: what claims to be larger is a bomb. */
const mostInflated = (packed: number): number => 1032 * packed + 64

/** Reads an npz file (NumPy's `savez` and `savez_compressed`): a zip archive of npy files. */
export async function openNpz(from: SourceLike, options: SourceOptions = {}): Promise<NpzFile> {
  await using source = await openSource(from, options)
  const file = source.name
  const refuse = (problem: string, hint?: string): never => fail("format", "npz", `${file}: ${problem}`, hint)
  const archive = await source.read(0, source.bytes)
  const unzip = (filter: (info: UnzipFileInfo) => boolean): Record<string, Uint8Array> => {
    try {
      return unzipSync(archive, { filter })
    } catch (e) {
      if (e instanceof ThimbleError) throw e
      return refuse(`the archive cannot be read: ${e instanceof Error ? e.message : String(e)}`, "is it a zip file, and whole?")
    }
  }
  const members = new Map<string, string>()
  unzip(({ name, size, originalSize, compression }) => {
    if (!name.endsWith(".npy")) return false
    if (compression !== 0 && compression !== 8) refuse(`'${name}' is packed in way ${compression}; 0 (stored) and 8 (deflate) can be read`)
    if (size > archive.length || originalSize > (compression === 0 ? size : mostInflated(size))) refuse(`'${name}' claims ${originalSize} bytes, from ${size}`)
    if (members.has(name.slice(0, -4))) refuse(`'${name}' stands twice`)
    members.set(name.slice(0, -4), name)
    return false
  })
  const open = (name: string): Pick<NpyFile, "array" | "tensor"> => {
    const member = members.get(name) ?? fail("value", "npz", `${file}: no array '${name}'`, nearby(name, members.keys()))
    const bytes = unzip((info) => info.name === member)[member]!
    const own = (problem: string, hint?: string): never => refuse(`'${member}': ${problem}`, hint)
    const length = headLength(bytes.subarray(0, prefixBytes), own)
    if (length > bytes.length) own(`the header ends at byte ${length}, but there are ${bytes.length}`)
    const header = parseNpyHeader(bytes.subarray(0, length), bytes.length, own)
    return reader(`${file}: '${member}'`, header, () => Promise.resolve(bytes.subarray(header.begin)))
  }
  const tensor = async (name: string): Promise<Tensor> => open(name).tensor()
  return { name: file, names: [...members.keys()], array: async (name) => open(name).array(), tensor, tensors: () => readAll(members.keys(), tensor) }
}

export interface NpzOptions {
  /** Whether arrays are deflated; weights hardly become smaller. No unless given. */
  readonly compress?: boolean
}

/** Archives beyond this many bytes would need zip64. */
const zipLimit = 2 ** 32 - 1
/** The earliest that zip archives know, so that equal arrays give equal bytes. */
const time = "1980-01-01T00:00:00"

/** The bytes of an npz file piece by piece, one array in memory at a time. */
export async function* encodeNpz(arrays: Readonly<Record<string, Tensor | NpyArray>>, { compress = false }: NpzOptions = {}): AsyncGenerator<Uint8Array> {
  let pieces: Uint8Array[] = [], written = 0, failure: Error | null = null
  const zip = new Zip((error, piece) => {
    failure ??= error
    if (piece) pieces.push(piece)
  })
  const flush = function* (): Generator<Uint8Array> {
    if (failure !== null) throw failure
    for (const piece of pieces) {
      written += piece.length
      if (written > zipLimit) fail("value", "encodeNpz", `the archive takes more than ${zipLimit} bytes`, "write npy or safetensors files")
      yield piece
    }
    pieces = []
  }
  for (const [name, value] of Object.entries(arrays)) {
    const member = compress ? new ZipDeflate(`${name}.npy`) : new ZipPassThrough(`${name}.npy`)
    member.mtime = time
    zip.add(member)
    for await (const piece of encodeNpy(value)) {
      member.push(piece)
      yield* flush()
    }
    member.push(new Uint8Array(0), true)
    yield* flush()
  }
  zip.end()
  yield* flush()
}

/** Writes an npz file; it appears under its name when it is complete. */
export const saveNpz = (path: string, arrays: Readonly<Record<string, Tensor | NpyArray>>, options: NpzOptions = {}): Promise<void> =>
  saveFile(path, encodeNpz(arrays, options))
