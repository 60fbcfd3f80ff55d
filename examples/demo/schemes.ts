import { ggml, int, type GgmlName } from "@thimble/compress"
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

/**
 * llama.cpp's mix of that name: 6 bits for the (tied) embedding, and for values and the way down in some blocks: the
 * first and the last eighth of them, and every third between.
 */
const mixed: Scheme = {
  name: "Q4_K_M",
  file: "gguf",
  format(module, { config: { layers } }) {
    const layer = Number(/layers\.(\d+)\./.exec(module)?.[1] ?? 0), eighth = Math.floor(layers / 8)
    const more = layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2
    return /embed_tokens|lm_head/.test(module) || (more && /v_proj|down_proj/.test(module)) ? ggml.Q6_K : ggml.Q4_K
  },
}

/** What the shipped model is compressed to: llama.cpp's types from many bits to few, and plain integers with a scale. */
export const schemes: readonly Scheme[] = [
  ...(["Q8_0", "Q6_K", "Q5_K"] as const).map(blocks), mixed, ...(["Q4_K", "Q4_0", "Q3_K", "Q2_K"] as const).map(blocks),
  integers(int(8)), integers(int(4, { group: 32 })),
]
/** What a model that has just been trained is compressed to; its rows are too short for the K types. */
export const plain: readonly Scheme[] = [int(8), int(4, { group: 32 })].map(integers)
