import { fail } from "@thimble/core"
import type { BlockRole, Config, ModelRole } from "./config.ts"
import { architectures } from "./architectures/index.ts"
import type { JsonRow } from "./json.ts"
import type { Links } from "./links.ts"

/** What all models of one kind have in common: a row of the table in `architectures/`. */
export interface Architecture {
  /** `model_type` of config.json. */
  readonly name: string
  /** `architectures[0]` of config.json. */
  readonly className: string
  /** The same of checkpoints without a head. */
  readonly bodyClassName?: string
  /** `general.architecture` of GGUF files. */
  readonly gguf: string
  /** Readers of GGUF files take it that the heads of a layer have as many features as the stream. */
  readonly ggufWholeHeads?: boolean
  /** Names of modules by role, as in Hugging Face's checkpoints. */
  readonly names: Readonly<Partial<Record<ModelRole, string>>>
  /** What the names of a block's modules follow: this, the block's number, and a name of `block`. */
  readonly blocks: string
  readonly block: Readonly<Partial<Record<BlockRole, string>>>
  /** Roots of names that checkpoints have or leave out, like `transformer.`. */
  readonly optionalPrefix?: string
  /** Names that files spell otherwise than modules would have them. */
  readonly spelled?: Readonly<Record<string, string>>
  /** Other spellings of names. */
  readonly aliases?: readonly (readonly [RegExp, string])[]
  /** Norms: by the root of the mean square, or by mean and variance, with a bias. */
  readonly norm: "rms" | "layer"
  /** Norms multiply with 1 + weight. */
  readonly onePlus?: boolean
  /** Norms come after what is added to the stream (BERT), instead of before what reads it. */
  readonly postNorm?: boolean
  /** Every position sees all others. */
  readonly bidirectional?: boolean
  /** Embeddings are multiplied with √width. */
  readonly scaledEmbedding?: boolean
  /** Matrices are stored transposed in safetensors files (GPT-2's Conv1D). */
  readonly transposed?: readonly BlockRole[]
  /** A fused matrix of queries, keys and values has them one after the other, or head by head. */
  readonly fused?: "parts" | "heads"
  /** Which pairs of features turn together in GGUF files; in the others it is i and i + n/2. Rows of queries and keys are in that order. */
  readonly ggufPairs: "interleaved" | "half"
  /** Tensors of checkpoints that nothing needs. */
  readonly ignored?: RegExp
  readonly links: Links
  /** What its config.json says, and what it means where that says nothing. */
  readonly json: JsonRow
  /** What is the same for all models of the kind, and no file says. */
  readonly fixed?: Partial<Config>
}

const byName = new Map(architectures.map((a) => [a.name, a]))

/** The row of the table for a config. */
export function architectureOf({ architecture }: Pick<Config, "architecture">): Architecture {
  return byName.get(architecture) ?? fail("value", "architecture", `'${architecture}' is not known`, `these are: ${[...byName.keys()].join(", ")}`)
}

/** The name of a tensor in Hugging Face's checkpoints. */
export const fileName = ({ spelled }: Architecture, name: string): string => spelled?.[name] ?? name

/** The name of a module: of the model, or of a block of it. */
export function moduleName(a: Architecture, role: ModelRole): string
export function moduleName(a: Architecture, role: BlockRole, layer: number): string
export function moduleName(a: Architecture, role: ModelRole | BlockRole, layer?: number): string {
  const name = layer === undefined ? a.names[role as ModelRole] : a.block[role as BlockRole]
  if (name === undefined) return fail("internal", "models", `${a.name} has no ${role}`)
  return layer === undefined ? name : `${a.blocks}.${layer}.${name}`
}
