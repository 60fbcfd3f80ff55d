import { fail, fromBytes, showShape, type QuantizedOptions, type Tensor, type Weight } from "@thimble/core"
import { ggufFormat, ggufTypes, type GgufFile } from "@thimble/formats"
import { architectureOf } from "./architecture.ts"
import type { Config } from "./config.ts"
import { expectedTensors, type Expected } from "./expected.ts"
import type { Unread } from "./lazy.ts"
import { ggufName } from "./gguf-names.ts"
import { ggufRowOrder, inverse } from "./gguf-rows.ts"
import { refuseNames } from "./tensors-safetensors.ts"

/** Tensors that state a config, and no weights. */
export const factorNames = ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"]

/** Refuses a file that lacks what the config needs, or has more. */
export function checkGgufNames(file: GgufFile, config: Config): void {
  const a = architectureOf(config)
  const want = new Set(expectedTensors(config).map((t) => ggufName(a, t)))
  refuseNames(file.name, a.name, [...want].filter((name) => !file.entries.has(name)), [...file.entries.keys()].filter((name) => !want.has(name) && !factorNames.includes(name)))
}

/** Reads one tensor of a model: blocks stay packed, rows come in the order that models have. */
export async function readGgufTensor(file: GgufFile, config: Config, expected: Expected, options: QuantizedOptions): Promise<readonly [string, Weight | Tensor]> {
  const a = architectureOf(config), stored = ggufName(a, expected), { kind, name, path, role, shape, layer } = expected
  const entry = file.entries.get(stored)!
  if (String(entry.shape) !== String(shape)) fail("shape", "loadModel", `${file.name}: tensor '${stored}' is ${showShape(entry.shape)}, not ${showShape(shape)}`, "does its metadata belong to it?")
  const there = kind === "norm" ? undefined : ggufRowOrder(a, config, role, layer), order = there && inverse(there)
  const { dtype } = ggufTypes[entry.type]
  if (kind !== "matrix") {
    if (dtype === undefined) fail("dtype", "loadModel", `${file.name}: tensor '${stored}' is ${entry.type}, and a vector is of floats`)
    const values = await file.tensor(stored, { order })
    return [name, kind === "norm" && a.onePlus ? await minusOne(values) : values]
  }
  if (ggufFormat(entry.type) === undefined) fail("dtype", "loadModel", `${file.name}: tensor '${stored}' is ${entry.type}, which no weight is stored in`)
  const { activations } = options
  return [path, await file.weight(stored, { order, ...(activations && { activations }) })]
}

/** GGUF files have norms that multiply with 1 + weight as what they multiply with. */
async function minusOne(values: Tensor): Promise<Tensor> {
  const less = fromBytes(new Uint8Array(Float32Array.from(await values.data(), (v) => v - 1).buffer), values.shape, "f32")
  values.dispose()
  return less
}

/** A matrix of a model before it is read; undefined for vectors. */
export function unreadGguf(file: GgufFile, config: Config, expected: Expected): Unread | undefined {
  const { shape, kind } = expected
  if (kind !== "matrix") return undefined
  const { type } = file.entries.get(ggufName(architectureOf(config), expected))!, { dtype, size, bytes } = ggufTypes[type], storage = dtype ?? ggufFormat(type)
  return storage === undefined ? undefined : { shape: shape as [number, number], storage, bytes: ((shape[0]! * shape[1]!) / size) * bytes }
}
