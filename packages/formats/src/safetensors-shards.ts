import { fail, Tensor } from "@thimble/core"
import { nearby } from "./nearby.ts"
import { saveFile } from "./save.ts"
import { openSafetensors, readAll, type SafetensorsFile } from "./safetensors.ts"
import { fileDType, storedBytes, type Entry } from "./safetensors-header.ts"
import { saveSafetensors, type RawTensor, type SafetensorsOptions } from "./safetensors-write.ts"
import { openSource, type SourceLike, type SourceOptions } from "./source.ts"

export interface ShardOptions extends SourceOptions {
  /** Where a file that the index names is; beside the index unless given. */
  readonly locate?: (file: string) => SourceLike
}

/** The most bytes an index may take: a few hundred for each tensor. */
const indexLimit = 100_000_000

/**
 * Opens several safetensors files as one, by their index (`model.safetensors.index.json`). Every tensor must be in the
 * file that the index gives for it. Offsets of entries count in their own files.
 */
export async function openSafetensorsShards(index: SourceLike, { locate = beside(index), ...options }: ShardOptions = {}): Promise<SafetensorsFile> {
  const source = await openSource(index, options)
  const refuse = (problem: string, hint?: string): never => fail("format", "safetensors", `${source.name}: ${problem}`, hint)
  const files = new Map<string, SafetensorsFile>()
  const close = async (): Promise<void> => {
    for (const f of files.values()) await f.close()
  }
  try {
    if (source.bytes > indexLimit) refuse(`the index takes ${source.bytes} bytes, more than ${indexLimit}`)
    const places = parseIndex(await source.read(0, source.bytes), refuse)
    for (const file of new Set(places.values())) files.set(file, await openSafetensors(locate(file), options))
    const entries = new Map<string, Entry>()
    for (const [name, file] of places)
      entries.set(name, files.get(file)!.entries.get(name) ?? refuse(`the tensor '${name}' is not in ${file}`, nearby(name, files.get(file)!.entries.keys())))
    const of = (name: string): SafetensorsFile => files.get(places.get(name) ?? fail("value", "safetensors", `${source.name}: no tensor '${name}'`, nearby(name, places.keys())))!
    const tensor = (name: string): Promise<Tensor> => of(name).tensor(name)
    const metadata = Object.assign({}, ...[...files.values()].map((f) => f.metadata)) as Record<string, string>
    return {
      name: source.name, metadata, entries, close, [Symbol.asyncDispose]: close,
      bytes: async (name) => of(name).bytes(name),
      array: async (name) => of(name).array(name),
      tensor: async (name) => tensor(name),
      tensors: () => readAll(entries.keys(), tensor),
    }
  } catch (e) {
    await close()
    throw e
  } finally {
    await source.close()
  }
}

function parseIndex(bytes: Uint8Array, refuse: (problem: string) => never): Map<string, string> {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes))
  } catch {
    refuse("the index is not valid JSON")
  }
  const map = typeof json === "object" && json !== null && "weight_map" in json ? json.weight_map : undefined
  if (typeof map !== "object" || map === null || Array.isArray(map)) return refuse("the index has no object 'weight_map'")
  const places = new Map<string, string>()
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== "string") return refuse(`weight_map gives ${JSON.stringify(file)} for the tensor '${name}'`)
    // Files beside the index, and no others.
    if (file === "" || file === "." || file === ".." || /[/\\\0]/.test(file)) return refuse(`weight_map gives '${file}' for the tensor '${name}', which is no name of a file beside it`)
    places.set(name, file)
  }
  return places
}

function beside(index: SourceLike): (file: string) => SourceLike {
  if (index instanceof URL) return (file) => new URL(encodeURIComponent(file), index)
  if (typeof index !== "string") return (file) => fail("value", "openSafetensorsShards", `where is ${file}?`, "an index that is no path or URL needs options.locate")
  if (/^https?:\/\//i.test(index)) return (file) => new URL(encodeURIComponent(file), index)
  return (file) => index.slice(0, Math.max(index.lastIndexOf("/"), index.lastIndexOf("\\")) + 1) + file
}

export interface ShardedOptions extends SafetensorsOptions {
  /** The most bytes of tensors in a file; a larger tensor has one of its own. 5 · 10⁹ unless given. */
  readonly shardBytes?: number
  /** What the files' names begin with, `model` unless given. */
  readonly name?: string
}

/**
 * Writes tensors to a folder, in their order, as one safetensors file or as several with an index, and gives the names of
 * the files. Tensors are read one by one.
 */
export async function saveSafetensorsShards(folder: string, tensors: Readonly<Record<string, Tensor | RawTensor>>, { shardBytes = 5e9, name = "model", ...options }: ShardedOptions = {}): Promise<string[]> {
  if (!(shardBytes >= 1)) fail("value", "saveSafetensorsShards", `shardBytes must be positive, got ${shardBytes}`)
  const shards: { bytes: number; tensors: [string, Tensor | RawTensor][] }[] = []
  let total = 0
  for (const [key, value] of Object.entries(tensors)) {
    const bytes = storedBytes(value instanceof Tensor ? fileDType(value.dtype) : value.dtype, value.shape) ?? 0
    const last = shards.at(-1)
    if (last === undefined || last.bytes + bytes > shardBytes) shards.push({ bytes, tensors: [[key, value]] })
    else {
      last.bytes += bytes
      last.tensors.push([key, value])
    }
    total += bytes
  }
  const digits = (n: number): string => String(n).padStart(5, "0")
  if (shards.length <= 1) {
    await saveSafetensors(`${folder}/${name}.safetensors`, tensors, options)
    return [`${name}.safetensors`]
  }
  const places: [string, string][] = [], files: string[] = []
  for (const [i, shard] of shards.entries()) {
    const file = `${name}-${digits(i + 1)}-of-${digits(shards.length)}.safetensors`
    await saveSafetensors(`${folder}/${file}`, Object.fromEntries(shard.tensors), options)
    places.push(...shard.tensors.map(([key]) => [key, file] as [string, string]))
    files.push(file)
  }
  // The index comes last: where it is, the files are.
  const index = `${name}.safetensors.index.json`
  const json = new TextEncoder().encode(JSON.stringify({ metadata: { total_size: total }, weight_map: Object.fromEntries(places) }, undefined, 2))
  await saveFile(`${folder}/${index}`, (async function* () { yield json })())
  return [...files, index]
}
