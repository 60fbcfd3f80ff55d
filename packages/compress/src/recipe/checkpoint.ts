import { fail, type Activations, type DType, type TypedArray } from "@thimble/core"
import { fileSystem, openSafetensors, saveFile, saveSafetensors, type RawTensor } from "@thimble/formats"
import type { Json } from "@thimble/models"
import type { Parts } from "../quantizer.ts"
import type { ReportEntry } from "./stage.ts"

/** A matrix as it is stored: as methods give it, its format by name. */
export interface Kept { readonly format: string; readonly parts: Parts; readonly order?: Int32Array; readonly rank?: number; readonly activations?: Activations }

/** What a piece of work gave: matrices by path as they are stored, and vectors by name. */
export interface Work {
  readonly matrices: Readonly<Record<string, Kept>>
  readonly vectors: Readonly<Record<string, Float32Array>>
  readonly entries: readonly ReportEntry[]
}

/** What a file says of its tensors: their order, too, which is that of the parts. */
interface Described {
  readonly matrices: Readonly<Record<string, { readonly format: string; readonly parts: readonly string[]; readonly rank?: number; readonly activations?: Activations }>>
  readonly vectors: readonly string[]
  readonly entries: readonly ReportEntry[]
}

/** A directory in which finished pieces of work lie, so that a job that was killed goes on where it was. */
export interface Checkpoint {
  /** A piece that is there. */
  load(name: string): Promise<Work | undefined>
  /** Writes a piece; it is there whole or not at all. */
  save(name: string, work: Work): Promise<void>
}

/**
 * Opens a directory, or makes it. `identity` says what is worked on: the model, the recipe, the data. A directory that
 * belongs to other work is refused.
 */
export async function openCheckpoint(directory: string, identity: Json): Promise<Checkpoint> {
  const { mkdir, readFile } = await fileSystem("run"), about = `${directory}/job.json`, text = `${JSON.stringify(identity, undefined, 2)}\n`
  await mkdir(directory, { recursive: true })
  const known = await readFile(about, "utf8").catch((e: NodeJS.ErrnoException) => (e.code === "ENOENT" ? undefined : Promise.reject(e)))
  if (known === undefined) await saveFile(about, once(text))
  else if (known !== text) fail("value", "run", `${directory} holds other work: its ${differing(known, identity)} is another`, "choose another directory, or remove this one")
  const file = (name: string): string => `${directory}/${name}.safetensors`
  return {
    async load(name) {
      const { stat } = await fileSystem("run")
      if ((await stat(file(name)).catch(() => undefined)) === undefined) return undefined
      await using stored = await openSafetensors(file(name))
      const known = JSON.parse(stored.metadata.work ?? "{}") as Described
      const matrices: Record<string, Kept> = {}, vectors: Record<string, Float32Array> = {}
      for (const [path, { format, parts, rank, activations }] of Object.entries(known.matrices)) {
        const own: Record<string, Parts[string]> = {}
        for (const part of parts) {
          const key = `matrix|${path}|${part}`, { dtype, shape } = stored.entries.get(key) ?? fail("format", "run", `${file(name)} lacks the tensor '${key}'`, "remove the file, and it will be made again")
          own[part] = { data: (await stored.array(key)) as TypedArray, shape, dtype: dtype.toLowerCase() as DType }
        }
        const order = `order|${path}`
        matrices[path] = { format, parts: own, ...(rank !== undefined && { rank }), ...(activations && { activations }), ...(stored.entries.has(order) && { order: (await stored.array(order)) as Int32Array }) }
      }
      for (const path of known.vectors) vectors[path] = (await stored.array(`vector|${path}`)) as Float32Array
      const { entries } = known
      return { matrices, vectors, entries }
    },
    async save(name, { matrices, vectors, entries }) {
      const tensors: Record<string, RawTensor> = {}
      for (const [path, { parts }] of Object.entries(matrices)) for (const [part, { data, shape, dtype }] of Object.entries(parts)) tensors[`matrix|${path}|${part}`] = { dtype: dtype.toUpperCase() as RawTensor["dtype"], shape, bytes: data }
      for (const [path, { order }] of Object.entries(matrices)) if (order !== undefined) tensors[`order|${path}`] = { dtype: "I32", shape: [order.length], bytes: order }
      for (const [path, data] of Object.entries(vectors)) tensors[`vector|${path}`] = { dtype: "F32", shape: [data.length], bytes: data }
      const known: Described = { matrices: Object.fromEntries(Object.entries(matrices).map(([path, { format, parts, rank, activations }]) => [path, { format, parts: Object.keys(parts), ...(rank !== undefined && { rank }), ...(activations && { activations }) }])), vectors: Object.keys(vectors), entries }
      await saveSafetensors(file(name), tensors, { metadata: { work: JSON.stringify(known) } })
    },
  }
}

/** Which of the things that identify work differ. */
function differing(known: string, identity: Json): string {
  try {
    const old = JSON.parse(known) as Json
    return Object.keys(identity).filter((key) => JSON.stringify(old[key]) !== JSON.stringify(identity[key])).join(", ") || "version"
  } catch {
    return "job.json"
  }
}

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(text)
}
