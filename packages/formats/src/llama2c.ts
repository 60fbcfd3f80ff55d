import { fail, fromBytes, sizeOf, type Tensor } from "@thimble/core"
import { nearby } from "./nearby.ts"
import { openSource, type SourceLike, type SourceOptions } from "./source.ts"

/** Sizes of a Llama model in a llama2.c file. */
export interface Llama2cConfig {
  readonly dim: number
  readonly hiddenDim: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly vocabSize: number
  readonly maxLength: number
  /** Whether the embedding is the classifier, too. */
  readonly shared: boolean
}

export interface Llama2cEntry {
  readonly dtype: "f32" | "i8"
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

/** An open file: tensors are read when asked for. */
export interface Llama2cFile extends AsyncDisposable {
  readonly name: string
  /** 0 is the headless format of the first models, 1 has f32 and a header, 2 int8 codes. */
  readonly version: 0 | 1 | 2
  readonly config: Llama2cConfig
  /** Version 2: neighbours that share a scale. */
  readonly group: number | undefined
  /**
   * Tensors by their names in Meta's models (`tok_embeddings.weight`, `layers.0.attention.wq.weight` …). In version 2
   * those of matrices are codes, and `….scales` beside `….weight` has their scales [rows, columns/group].
   */
  readonly entries: ReadonlyMap<string, Llama2cEntry>
  bytes(name: string): Promise<Uint8Array>
  tensor(name: string): Promise<Tensor>
  close(): Promise<void>
}

const magic = 0x616b3432
const versionedHead = 256, plainHead = 28

/** Opens a llama2.c model file (`export.py` of karpathy/llama2.c), of version 0, 1 or 2. */
export async function openLlama2c(from: SourceLike, options: SourceOptions = {}): Promise<Llama2cFile> {
  const source = await openSource(from, options)
  const { name: file, bytes: size } = source
  const refuse = (problem: string, hint?: string): never => fail("format", "llama2c", `${file}: ${problem}`, hint)
  try {
    if (size < plainHead) refuse(`${size} bytes are too few, a header alone takes ${plainHead}`)
    const head = (await source.read(0, Math.min(size, versionedHead))).slice()
    const view = new DataView(head.buffer)
    const versioned = view.getUint32(0, true) === magic
    const version = versioned ? view.getInt32(4, true) : 0
    if (versioned && version !== 1 && version !== 2) refuse(`is of version ${version} (byte 4); 0, 1 and 2 can be read`)
    if (versioned && size < versionedHead) refuse(`${size} bytes are too few, a header alone takes ${versionedHead}`)
    const at = versioned ? 8 : 0
    const [dim, hiddenDim, layers, heads, kvHeads, vocab, maxLength] = Array.from({ length: 7 }, (_, i) => view.getInt32(at + 4 * i, true)) as [number, number, number, number, number, number, number]
    // The first format has a negative vocabulary where the classifier is a matrix of its own.
    const shared = versioned ? head[36] !== 0 : vocab > 0
    const config: Llama2cConfig = { dim, hiddenDim, layers, heads, kvHeads, vocabSize: versioned ? vocab : Math.abs(vocab), maxLength, shared }
    for (const [key, value] of Object.entries(config))
      if (typeof value === "number" && !(value > 0)) refuse(`${key} is ${value} in the header (byte ${at})`, "is it a llama2.c file?")
    if (dim % heads !== 0 || heads % kvHeads !== 0) refuse(`${dim} features on ${heads} heads on ${kvHeads} key heads do not divide (byte ${at})`, "is it a llama2.c file?")
    if (layers > 10_000) refuse(`has ${layers} layers (byte ${at + 8})`, "is it a llama2.c file?")
    const group = version === 2 ? view.getInt32(37, true) : undefined
    if (group !== undefined && !(group > 0 && dim % group === 0 && hiddenDim % group === 0)) refuse(`the group of ${group} (byte 37) does not divide ${dim} and ${hiddenDim}`)

    const entries = new Map<string, Llama2cEntry>()
    let end = versioned ? versionedHead : plainHead
    const add = (name: string, shape: readonly number[], dtype: "f32" | "i8" = "f32"): void => {
      const begin = end
      end += sizeOf(shape) * (dtype === "f32" ? 4 : 1)
      if (!(end <= size)) refuse(`tensor '${name}' would end at byte ${end}, but the file has ${size}`, "was it cut off?")
      entries.set(name, { dtype, shape, begin, end })
    }
    for (const [name, shape] of order(config, version)) {
      if (group === undefined || shape.length === 1) {
        if (name === "") end += 4 * sizeOf(shape)
        else add(name, shape)
      } else {
        add(name, shape, "i8")
        add(name.replace(/weight$/, "scales"), [shape[0]!, shape[1]! / group])
      }
    }
    if (end !== size) refuse(`the last tensor ends at byte ${end}, but the file has ${size}`)
    const entry = (name: string): Llama2cEntry => entries.get(name) ?? fail("value", "llama2c", `${file}: no tensor '${name}'`, nearby(name, entries.keys()))
    const bytes = async (name: string): Promise<Uint8Array> => source.read(entry(name).begin, entry(name).end)
    const tensor = async (name: string): Promise<Tensor> => fromBytes(await bytes(name), entry(name).shape, entry(name).dtype)
    return { name: file, version: version as 0 | 1 | 2, config, group, entries, bytes, tensor, close: source.close, [Symbol.asyncDispose]: source.close }
  } catch (e) {
    await source.close()
    throw e
  }
}

/** Names and shapes in the order of the file; the nameless are tables that readers can compute. */
function* order({ dim, hiddenDim, layers, heads, kvHeads, vocabSize, maxLength, shared }: Llama2cConfig, version: number): Generator<readonly [string, readonly number[]]> {
  const kv = (dim / heads) * kvHeads
  const embedding = ["tok_embeddings.weight", [vocabSize, dim]] as const, norm = ["norm.weight", [dim]] as const
  const of = function* (name: string, shape: readonly number[]): Generator<readonly [string, readonly number[]]> {
    for (let l = 0; l < layers; l++) yield [`layers.${l}.${name}.weight`, shape]
  }
  const attention = [["attention.wq", [dim, dim]], ["attention.wk", [kv, dim]], ["attention.wv", [kv, dim]], ["attention.wo", [dim, dim]]] as const
  const feed = [["feed_forward.w1", [hiddenDim, dim]], ["feed_forward.w2", [dim, hiddenDim]], ["feed_forward.w3", [hiddenDim, dim]]] as const
  if (version === 0) {
    yield embedding
    yield* of("attention_norm", [dim])
    for (const [name, shape] of attention) yield* of(name, shape)
    yield* of("ffn_norm", [dim])
    for (const [name, shape] of feed) yield* of(name, shape)
    yield norm
    // Cosines and sines of the rotations.
    yield ["", [maxLength, dim / heads]]
  } else {
    yield* of("attention_norm", [dim])
    yield* of("ffn_norm", [dim])
    yield norm
    yield embedding
    for (const [name, shape] of [...attention, ...feed]) yield* of(name, shape)
  }
  if (!shared) yield ["output.weight", [vocabSize, dim]]
}
