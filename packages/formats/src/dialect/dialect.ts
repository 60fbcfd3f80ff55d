import type { Activations } from "@thimble/core"
import type { FileDType } from "../safetensors-header.ts"
import type { Codes, MatrixShape, Outline } from "./codes.ts"
import type { Settings, StoredModule } from "./stored.ts"

export type DialectName = "gptq" | "gptq_v2" | "awq" | "compressed-tensors" | "bitsandbytes" | "mlx"

/** What a model uses a matrix for, as far as dialects care. */
export interface MatrixUse {
  /** Rows are looked up. */
  readonly embedding?: boolean
  /** It gives the logits. */
  readonly head?: boolean
  /** Checkpoints of plain weights have it transposed: GPT-2's Conv1D. */
  readonly transposed?: boolean
  /** Its inputs are rounded to int8: with scales that are found as they come, or with one that is stored beside it. */
  readonly activations?: "int8PerToken" | "stored"
}

/** How activations are rounded beside a matrix, as far as a checkpoint says it: {@link Activations} without tensors. */
export type StoredActivations = Extract<Activations, "int8PerToken"> | { readonly scale: number; readonly zero?: number }

/** What a checkpoint as a whole is written with. */
export interface WriterOptions {
  /** How compressed-tensors stores integers; what fits unless given. */
  readonly layout?: CompressedLayout
  /** The type of the tensors that are not quantized, as torch calls it. */
  readonly dtype: string
}
/** How compressed-tensors stores a matrix. */
export type CompressedLayout = "pack-quantized" | "int-quantized" | "naive-quantized" | "float-quantized" | "mxfp4-pack-quantized" | "nvfp4-pack-quantized"

/** Matrices to be written, and those that stay as they are, by module. */
export interface Plan {
  readonly packed: ReadonlyMap<string, Outline>
  readonly kept: readonly string[]
  /** How inputs of packed matrices are rounded, of those where they are. */
  readonly activations?: ReadonlyMap<string, StoredActivations>
}

/** Writes the modules of one checkpoint. */
export interface DialectWriter {
  /** What config.json says. */
  readonly settings: Settings
  /** Other files that say the same. */
  readonly files?: Readonly<Record<string, object>>
  write(module: string, codes: Codes): StoredModule
}

/** How some library stores quantized modules: its tensors, and what config.json says of them. */
export interface Dialect {
  readonly name: DialectName
  /** Where config.json says it: `quantization_config`, or also `quantization`. */
  readonly fields: readonly string[]
  /** Tensors that nothing here needs. */
  readonly ignored?: RegExp
  /** Whether scales of activations can be stored. */
  readonly activations?: true
  /** What the names of the tensors of a packed module end in, after the module's name and a dot. */
  readonly suffixes: readonly string[]
  /** Whether a module with tensors of these types is packed. What a file has decides, as in vLLM. */
  isPacked(types: Readonly<Record<string, FileDType>>): boolean
  /** Reads modules by the settings of a checkpoint; refuses settings that it does not know. */
  reader(settings: Settings): DialectReader
  /** Why a matrix cannot be stored, in words; undefined if it can. */
  refuses(outline: Outline, use: MatrixUse, options?: Partial<WriterOptions>): string | undefined
  /** What has to be the same for all matrices of a checkpoint, if anything has. */
  common?(outline: Outline): string
  writer(plan: Plan, options: WriterOptions): DialectWriter
}
export interface DialectReader {
  /** Whether the settings say that a module is not packed. */
  isKept(module: string): boolean
  read(module: string, stored: StoredModule, shape: MatrixShape): Codes
  /** How activations are rounded beside a module, if it says so in a way that products know. */
  activations?(module: string, stored: StoredModule): StoredActivations | undefined
}

/** The value that most have; the first of several. */
export function mostCommon<T>(all: Iterable<T>, key: (t: T) => string): T | undefined {
  const counts = new Map<string, { n: number; t: T }>()
  for (const t of all) {
    const k = key(t), c = counts.get(k)
    if (c) c.n++
    else counts.set(k, { n: 1, t })
  }
  return [...counts.values()].sort((a, b) => b.n - a.n)[0]?.t
}
export const inGroup = (module: string, name: string): boolean => module === name || module.endsWith(`.${name}`) || module.startsWith(`${name}.`) || module.includes(`.${name}.`)
