import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { stateDict, tensorsOf } from "@thimble/core"
import { saveSafetensors } from "@thimble/formats"
import { saveModel, type Model } from "@thimble/models"
import { compress, measure, type Row, type Trial } from "./measure.ts"
import type { FileKind, Scheme } from "./schemes.ts"

export interface CompareOptions extends Trial {
  readonly schemes: readonly Scheme[]
  /** What the original is called in the table, and what it is written to. */
  readonly name: string
  readonly file: FileKind
  /** Folder for the files. */
  readonly out: string
  readonly signal?: AbortSignal
  /** Called before each row is measured. */
  readonly onStart?: (name: string) => void
}
/** A row, and the file that has the model. */
export interface Saved extends Row { readonly file: string }

/** Compresses a model in all ways, writes each, and measures what it cost. The first row is the original. */
export async function compare(original: Model, options: CompareOptions): Promise<Saved[]> {
  const { schemes, name, file, out, signal, onStart } = options
  await mkdir(out, { recursive: true })
  onStart?.(name)
  const rows: Saved[] = [{ ...(await measure(name, original, original, options, signal)), file: await write[file](original, name, out) }]
  for (const scheme of schemes) {
    signal?.throwIfAborted()
    onStart?.(scheme.name)
    const model = await compress(original, scheme)
    rows.push({ ...(await measure(scheme.name, model, original, options, signal)), file: await write[scheme.file](model, scheme.name, out) })
    const kept = new Set(tensorsOf(original))
    for (const t of tensorsOf(model)) if (!kept.has(t)) t.dispose()
  }
  return rows
}

const write: Readonly<Record<FileKind, (model: Model, name: string, out: string) => Promise<string>>> = {
  async gguf(model, name, out) {
    const path = join(out, `${name}.gguf`)
    await saveModel(model, path, { name })
    return path
  },
  async safetensors(model, name, out) {
    const path = join(out, `${name}.safetensors`)
    await saveSafetensors(path, stateDict(model), { metadata: { format: "pt", weights: name } })
    return path
  },
}
