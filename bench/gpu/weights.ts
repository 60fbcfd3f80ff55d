// Weights of no meaning: what a benchmark reads has only to be there, and to keep numbers in their range.
import { denseWeight as dense, tensor, uploadParts, quantizedWeight, type Format, type Tensor, type Weight } from "@thimble/core"
import { createModel, expectedTensors, type Config, type Model } from "@thimble/models"
import { noise } from "./time.ts"

/** Random bytes, handed out again and again. */
const bytes = (() => {
  let all: Uint8Array<ArrayBuffer> | undefined
  return (count: number): Uint8Array<ArrayBuffer> => {
    if (all === undefined || all.length < count) {
      const words = new Uint32Array(Math.ceil(count / 4))
      let state = 12345
      for (let i = 0; i < words.length; i++) words[i] = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) ^ (state >>> 15)
      all = new Uint8Array(words.buffer)
    }
    return all.subarray(0, count)
  }
})()
/** 2⁻⁹ as f16: with codes up to ±127, or ±8, rows of some thousand keep their size. */
const scaleBits = { 4: 0x2000, 8: 0x1000 } as const

/** Parts of a matrix in `int(4)` or `int(8)` with groups of 32. */
export function randomParts(format: Format, [rows, columns]: readonly [number, number]): Parameters<typeof uploadParts>[0] {
  const packed = format.name.startsWith("int4")
  const codes = packed ? bytes((rows * columns) / 2) : new Int8Array(bytes(rows * columns).buffer, 0, rows * columns)
  const scales = new Uint16Array((rows * columns) / 32).fill(scaleBits[packed ? 4 : 8])
  return {
    codes: { data: codes, shape: packed ? [rows, columns / 2] : [rows, columns], dtype: packed ? "u8" : "i8" },
    scales: { data: scales, shape: [rows, columns / 32], dtype: "f16" },
  }
}

const llama = { architecture: "llama", vocabulary: 32000, eps: 1e-5, activation: "silu", tied: false, biases: [], context: 2048 } as const
const shape = (width: number, layers: number, heads: number, kvHeads: number, hidden: number): Config =>
  ({ ...llama, width, layers, heads, kvHeads, headSize: width / heads, hidden, rope: { base: 10000, features: width / heads } })
export const configs = {
  tiny: { ...shape(64, 2, 2, 1, 128), vocabulary: 128, context: 64 },
  "110M": { ...shape(768, 12, 12, 12, 2048), context: 1024 },
  "1B": shape(2048, 22, 32, 4, 5632),
  "7B": shape(4096, 32, 32, 32, 11008),
} satisfies Record<string, Config>

/** A model of random weights: matrices in `format`, or in f32 where there is none. With `sameLayers`, those of all layers are the same in memory. */
export function randomModel(config: Config, format?: Format, activations: "f32" | "int8" = "int8", { sameLayers = false } = {}): Model {
  const parameters: Record<string, Weight | Tensor> = {}, known = new Map<string, ReturnType<typeof uploadParts>>()
  const partsOf = (format: Format, path: string, size: [number, number]): ReturnType<typeof uploadParts> => {
    const name = path.replace(/\.\d+\./, "."), parts = (sameLayers ? known.get(name) : undefined) ?? uploadParts(randomParts(format, size))
    known.set(name, parts)
    return parts
  }
  for (const { name, path, kind, shape } of expectedTensors(config)) {
    if (kind !== "matrix") parameters[name] = tensor(new Float32Array(shape[0]!).fill(1))
    else {
      const size = shape as [number, number]
      parameters[path] = format === undefined ? denseWeight(size) : quantizedWeight(format, size, partsOf(format, path, size), { activations })
    }
  }
  return createModel(config, parameters)
}
function denseWeight([rows, columns]: [number, number]): Weight {
  const values = noise(rows * columns, rows).map((v) => v / Math.sqrt(columns))
  return dense(tensor(values, { shape: [rows, columns] }))
}
