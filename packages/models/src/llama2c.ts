import { denseWeight, expr, fromBytes, quantizedWeight, tensorsOf, type Format, type QuantizedOptions, type Tensor, type Weight } from "@thimble/core"
import { openLlama2c, type Llama2cFile, type SourceLike, type SourceOptions } from "@thimble/formats"
import { architectureOf } from "./architecture.ts"
import type { Config, Role } from "./config.ts"
import { expectedTensors, type Expected } from "./expected.ts"
import { ggufRowOrder, inverse, reorderRows } from "./gguf-rows.ts"
import { createModel, type Model, type ModelOptions } from "./model.ts"

/** Meta's names of modules; of a block's, what follows `layers.N.`. */
const names: Readonly<Partial<Record<Role, string>>> = {
  embedding: "tok_embeddings", norm: "norm", head: "output",
  attentionNorm: "attention_norm", query: "attention.wq", key: "attention.wk", value: "attention.wv", output: "attention.wo",
  feedNorm: "ffn_norm", gate: "feed_forward.w1", up: "feed_forward.w3", down: "feed_forward.w2",
}

/** What `export.py` of llama2.c trains with and no file says. */
const configOf = ({ config: c }: Llama2cFile): Config => ({
  architecture: "llama", vocabulary: c.vocabSize, width: c.dim, layers: c.layers, heads: c.heads, kvHeads: c.kvHeads, headSize: c.dim / c.heads, hidden: c.hiddenDim,
  context: c.maxLength, eps: 1e-5, activation: "silu", tied: c.shared, biases: [], rope: { base: 10000, features: c.dim / c.heads }, bos: 1, eos: [2],
})

/** Opens a llama2.c file as a model. */
export async function loadLlama2c(from: SourceLike, options: SourceOptions & QuantizedOptions, more: ModelOptions = {}): Promise<Model> {
  await using file = await openLlama2c(from, options)
  const config = configOf(file), parameters: Record<string, Weight | Tensor> = {}
  try {
    for (const expected of expectedTensors(config)) parameters[expected.kind === "matrix" ? expected.path : expected.name] = await read(file, config, expected, options)
  } catch (e) {
    for (const t of tensorsOf(parameters)) t.dispose()
    throw e
  }
  return createModel(config, parameters, more)
}

async function read(file: Llama2cFile, config: Config, { role, layer, kind, shape }: Expected, options: QuantizedOptions): Promise<Weight | Tensor> {
  const module = layer === undefined ? names[role]! : `layers.${layer}.${names[role]!}`
  const order = ggufRowOrder(architectureOf(config), config, role)
  const own = async (name: string): Promise<Uint8Array> => {
    const bytes = await file.bytes(name)
    return order === undefined ? bytes : reorderRows(bytes, inverse(order))
  }
  if (kind !== "matrix") return file.tensor(`${module}.weight`)
  const matrix = shape as [number, number], codes = await own(`${module}.weight`)
  if (file.group === undefined) return denseWeight(fromBytes(codes, matrix, "f32"))
  const scales = fromBytes(await own(`${module}.scales`), [matrix[0], matrix[1] / file.group], "f32")
  return quantizedWeight(rounded(file.group), matrix, { codes: fromBytes(codes, matrix, "i8"), scales }, options)
}

/** llama2.c's int8: `group` neighbours share an f32 scale, their largest magnitude over 127. */
const rounded = (group: number): Format => ({
  name: `llama2c-int8/g${group}`, bits: 8 + 32 / group, group,
  encode(values, [rows, columns]) {
    const codes = new Int8Array(values.length), scales = new Float32Array(values.length / group)
    scales.forEach((_, g) => {
      const own = values.subarray(g * group, (g + 1) * group), scale = Math.fround(own.reduce((m, v) => Math.max(m, Math.abs(v)), 0) / 127)
      scales[g] = scale
      own.forEach((v, i) => (codes[g * group + i] = scale === 0 ? 0 : Math.round(v / scale)))
    })
    return { codes: { data: codes, shape: [rows, columns], dtype: "i8" }, scales: { data: scales, shape: [rows, columns / group], dtype: "f32" } }
  },
  code: (part, row, column) => part("codes", row, column),
  scale: (part, row, column) => part("scales", row, expr.div(column, expr.int(group))),
})
