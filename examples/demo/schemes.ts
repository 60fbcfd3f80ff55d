import { ggml, ggmlMix, int, plan, quantize, type GgmlName } from "@thimble/compress"
import type { Format } from "@thimble/core"
import type { Model } from "@thimble/models"

export type FileKind = "gguf" | "safetensors"
/** How the weights of a model are stored: a format for each, by the module it is the matrix of. */
export interface Scheme {
  readonly name: string
  /** What a model is written to: its formats are types of GGUF files, or not. */
  readonly file: FileKind
  format(module: string, model: Model): Format
}

const blocks = (name: GgmlName): Scheme => ({ name, file: "gguf", format: () => ggml[name] })
const integers = (format: Format): Scheme => ({ name: format.name, file: "safetensors", format: () => format })

/** llama.cpp's mix of that name. */
const mixed: Scheme = {
  name: "Q4_K_M",
  file: "gguf",
  format: (module, model) => ggml[plan(model, quantize({ rules: ggmlMix(model, "Q4_K_M") })).stages[0]!.entries.find((e) => e.path === module)!.to as GgmlName],
}

/** What the shipped model is compressed to: llama.cpp's types from many bits to few, and plain integers with a scale. */
export const schemes: readonly Scheme[] = [
  ...(["Q8_0", "Q6_K", "Q5_K"] as const).map(blocks), mixed, ...(["Q4_K", "Q4_0", "Q3_K", "Q2_K"] as const).map(blocks),
  integers(int(8)), integers(int(4, { group: 32 })),
]
/** What a model that has just been trained is compressed to; its rows are too short for the K types. */
export const plain: readonly Scheme[] = [int(8), int(4, { group: 32 })].map(integers)
