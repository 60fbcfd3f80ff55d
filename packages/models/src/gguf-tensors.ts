import { fail, type DType, type Tensor, type Weight } from "@thimble/core"
import { ggufFormat, ggufTypeFor, type GgufTensor, type GgufValue } from "@thimble/formats"
import { architectureOf, type Architecture } from "./architecture.ts"
import type { Config } from "./config.ts"
import { asDense } from "./dense.ts"
import { expectedTensors, type Expected } from "./expected.ts"
import type { Parameters } from "./forward.ts"
import { ggufName } from "./gguf-names.ts"
import { ggufRowOrder, reorderRows } from "./gguf-rows.ts"
import { isPlainFactors, llama3Factor } from "./rope.ts"

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength)

/** All tensors of a model as they stand in a GGUF file, matrices of a type or as they are stored; their bytes are made when they are written. */
export function ggufTensors(model: Parameters, dtype: DType | undefined, order: readonly string[] = []): ReadonlyMap<string, GgufTensor> {
  const { config, weights, vectors } = model, a = architectureOf(config)
  const made = [
    ...Object.entries(ropeFactors(config)).map(([name, factors]): [string, GgufTensor] => [name, { type: "F32", shape: [factors.length], bytes: Float32Array.from(factors) }]),
    ...expectedTensors(config).map((t): [string, GgufTensor] => [ggufName(a, t), t.kind === "matrix" ? matrix(a, config, t, weights[t.path]!, dtype) : vector(a, config, t, vectors[t.name]!)]),
  ]
  const place = new Map(order.map((name, i) => [name, i]))
  return new Map(made.sort(([x], [y]) => (place.get(x) ?? Infinity) - (place.get(y) ?? Infinity) || 0))
}

function matrix(a: Architecture, config: Config, { name, role, shape, layer }: Expected, weight: Weight, wanted: DType | undefined): GgufTensor {
  const order = ggufRowOrder(a, config, role, layer), placed = (bytes: Uint8Array): Uint8Array => (order === undefined ? bytes : reorderRows(bytes, order))
  const { storage } = weight
  if (wanted !== undefined || typeof storage === "string") {
    // ggml has no products with f64.
    const { dtype, raw } = asDense(weight, wanted ?? (storage === "f64" ? "f32" : undefined))
    return { type: ggufTypeFor(dtype), shape, bytes: async () => placed(bytesOf(await raw())) }
  }
  if (storage === undefined) return fail("value", "saveModel", `'${name}' is a weight '${weight.form}', made of others`, "quantize its dense() matrix, or say what to write as options.dtype")
  const type = ggufTypeFor(storage), format = ggufFormat(type)!
  return {
    type, shape,
    async bytes() {
      const parts = Object.fromEntries(await Promise.all(Object.entries(weight.parts()).map(async ([part, t]) => [part, { data: await t.raw(), shape: t.shape, dtype: t.dtype }] as const)))
      return placed(format.join(parts, weight.shape))
    },
  }
}

/** Vectors are f32, and norms what they multiply with. */
function vector(a: Architecture, config: Config, { kind, role, shape, layer }: Expected, values: Tensor): GgufTensor {
  const order = kind === "norm" ? undefined : ggufRowOrder(a, config, role, layer)
  return {
    type: "F32", shape,
    async bytes() {
      const own = Float32Array.from(await values.data())
      if (kind === "norm" && a.onePlus) own.forEach((v, i) => (own[i] = v + 1))
      return order === undefined ? own : reorderRows(bytesOf(own), order)
    },
  }
}

/** Factors of rotary positions that files have as tensors. */
function ropeFactors({ rope }: Config): Readonly<Record<string, readonly number[]>> {
  const scaling = rope?.scaling
  if (scaling?.kind === "llama3") return { "rope_freqs.weight": Array.from({ length: rope!.features / 2 }, (_, i) => llama3Factor(rope!.base ** ((-2 * i) / rope!.features), scaling)) }
  if (scaling?.kind !== "longrope") return {}
  if (isPlainFactors(scaling)) return { "rope_freqs.weight": scaling.short }
  return { "rope_factors_long.weight": scaling.long, "rope_factors_short.weight": scaling.short }
}

/** Order of the tensors of the file that metadata was read from, so that it is written as it was. */
export const tensorOrder = new WeakMap<ReadonlyMap<string, GgufValue>, readonly string[]>()
