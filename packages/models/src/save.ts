import { fail, type DType } from "@thimble/core"
import { fileSystem, saveFile, saveGguf, saveSafetensorsShards, type GgufDType, type GgufTensor, type GgufValue, type RawTensor } from "@thimble/formats"
import { architectureOf, fileName } from "./architecture.ts"
import { expectedTensors } from "./expected.ts"
import { parseJson } from "./folder.ts"
import { ggufKind, writeGgufConfig } from "./gguf-config.ts"
import { asDense } from "./dense.ts"
import { ggufTensors, tensorOrder } from "./gguf-tensors.ts"
import { writeConfig } from "./json.ts"
import type { Json } from "./json-fields.ts"
import { isLazy } from "./lazy.ts"
import type { Model } from "./model.ts"
import { isTransposed, transposed } from "./tensors-safetensors.ts"
import { tokenizerFiles } from "./tokenizer-files.ts"
import { tokenizerMetadata } from "./tokenizer-metadata.ts"

export interface SaveOptions {
  /** What matrices are written in; as they are stored unless given. */
  readonly dtype?: "f32" | "f16" | "bf16"
  /** The most bytes of tensors in one safetensors file, 5 · 10⁹ unless given. */
  readonly shardBytes?: number
  /** `general.name` of a GGUF file. */
  readonly name?: string
  /** Ends writing. What was there under the name stays. */
  readonly signal?: AbortSignal
}

/**
 * Writes a model: to one file if the path ends in `.gguf`, or else to a directory, with config.json, safetensors and
 * tokenizer files, as Hugging Face's libraries have it. Tensors are read and written one by one. What the model was loaded
 * with (metadata, settings of its tokenizer) is written with it.
 */
export async function saveModel(model: Model, path: string, options: SaveOptions = {}): Promise<void> {
  if (/\.(safetensors|bin|json|npz)$/i.test(path)) fail("value", "saveModel", `cannot write '${path}'`, "a name that ends in .gguf, or a directory")
  const whole = await model.loaded()
  try {
    await (/\.gguf$/i.test(path) ? saveAsGguf(whole, path, options) : saveAsFolder(whole, path, options))
  } finally {
    // What was read for this goes again.
    for (const [name, weight] of Object.entries(model.weights)) if (isLazy(weight)) for (const t of Object.values(whole.weights[name]!.parts())) t.dispose()
  }
}

/** A type, and the numbers of files that have mostly it (llama.cpp's `llama_ftype`), the usual one first. */
const fileTypes: Readonly<Partial<Record<GgufDType, readonly number[]>>> = {
  F32: [0], F16: [1], Q4_0: [2], Q4_1: [3], Q8_0: [7], Q5_0: [8], Q5_1: [9], Q2_K: [10, 21], Q3_K: [12, 11, 13], Q4_K: [15, 14], Q5_K: [17, 16], Q6_K: [18],
  IQ2_XXS: [19], IQ2_XS: [20], IQ3_XXS: [23], IQ1_S: [24], IQ4_NL: [25], IQ3_S: [26, 22, 27], IQ2_S: [28, 29], IQ4_XS: [30], IQ1_M: [31], BF16: [32], TQ1_0: [36], TQ2_0: [37], MXFP4: [38],
}
const plain: readonly GgufDType[] = ["F32", "F16", "BF16", "F64"]

/** The type that most elements of matrices have. */
function commonType(tensors: Iterable<GgufTensor>): GgufDType {
  const sizes = new Map<GgufDType, number>()
  for (const { type, shape } of tensors) if (shape.length > 1) sizes.set(type, (sizes.get(type) ?? 0) + shape.reduce((n, m) => n * m, 1))
  return [...sizes].sort(([, a], [, b]) => b - a)[0]?.[0] ?? "F32"
}

/** The same config, or another? Files may state it in their own words. */
const isStated = ({ config, stated }: Model): boolean => stated !== undefined && JSON.stringify(stated) === JSON.stringify(config)

async function saveAsGguf(model: Model, path: string, { name, signal, dtype }: SaveOptions): Promise<void> {
  const { config, metadata: known } = model, a = architectureOf(config)
  const tensors = ggufTensors(model, dtype, known === undefined ? [] : tensorOrder.get(known))
  const numbers = fileTypes[commonType(tensors.values())] ?? [0], packed = [...tensors.values()].some(({ type }) => !plain.includes(type))
  const said = known?.get("general.file_type")?.value as number
  const general: [string, GgufValue][] = [
    ["general.file_type", { type: "u32", value: numbers.includes(said) ? said : numbers[0]! }],
    ...(packed ? [["general.quantization_version", { type: "u32", value: 2 }] as [string, GgufValue]] : []),
    ...(name === undefined ? [] : [["general.name", { type: "string", value: name }] as [string, GgufValue]]),
  ]
  const own = writeGgufConfig(config), kinds = [ggufKind(config), a.gguf, String(known?.get("general.architecture")?.value)]
  const metadata = known === undefined
    ? new Map<string, GgufValue>([...own, ["general.type", { type: "string", value: "model" }], ["general.name", { type: "string", value: "model" }], ...general, ...(await tokenizerMetadata(model))])
    : new Map<string, GgufValue>([...(isStated(model) ? known : [...[...known].filter(([key]) => !kinds.some((kind) => key.startsWith(`${kind}.`))), ...own]), ...general])
  if (!packed) metadata.delete("general.quantization_version")
  await saveGguf(path, { metadata, tensors: new Map([...tensors].map(([key, t]) => [key, { ...t, bytes: untilAborted(t.bytes, signal) }])) })
}

const untilAborted = (bytes: GgufTensor["bytes"], signal: AbortSignal | undefined): GgufTensor["bytes"] => () => {
  signal?.throwIfAborted()
  return typeof bytes === "function" ? bytes() : bytes
}

const fileDTypes: Readonly<Partial<Record<DType, RawTensor["dtype"]>>> = { f64: "F64", f32: "F32", f16: "F16", bf16: "BF16" }
export const torchNames: Readonly<Partial<Record<DType, string>>> = { f64: "float64", f32: "float32", f16: "float16", bf16: "bfloat16" }

async function saveAsFolder(model: Model, path: string, { shardBytes, signal, dtype: wanted }: SaveOptions): Promise<void> {
  const { weights } = model
  const packed = wanted !== undefined ? [] : Object.entries(weights).filter(([, w]) => typeof w.storage !== "string" || fileDTypes[w.storage] === undefined).map(([name]) => name)
  if (packed.length > 0) fail("value", "saveModel", `these weights are stored in ways that safetensors files of models do not have: ${packed.join(", ")}`, "write a .gguf, say what to write as options.dtype, or export the model in the dialect of another library")
  await writeFolder(model, path, plainTensors(model, { ...(wanted && { dtype: wanted }), ...(signal && { signal }) }), {
    dtype: torchNames[wanted ?? (Object.values(weights)[0]!.storage as DType)]!, ...(shardBytes !== undefined && { shardBytes }),
  })
}

/** Tensors of a model as safetensors files have them: its vectors, and the matrices that `which` names; all unless given. */
export function plainTensors({ config, weights, vectors }: Model, { dtype: wanted, signal, which = () => true }: Pick<SaveOptions, "dtype" | "signal"> & { readonly which?: (path: string) => boolean }): Record<string, RawTensor> {
  const a = architectureOf(config)
  return Object.fromEntries(expectedTensors(config).filter((t) => t.kind !== "matrix" || which(t.path)).map((t): [string, RawTensor] => {
    const own = t.kind === "matrix" ? asDense(weights[t.path]!, wanted) : { dtype: vectors[t.name]!.dtype, raw: () => vectors[t.name]!.raw() }, dtype = fileDTypes[own.dtype]!
    const turned = isTransposed(config, t), [rows, columns] = t.shape as [number, number]
    return [fileName(a, t.name), {
      dtype, shape: turned ? [columns, rows] : t.shape,
      bytes: untilAborted(turned ? async () => transposeBytes(await own.raw(), columns, rows) : own.raw, signal) as () => Promise<ArrayBufferView>,
    }]
  }))
}

/** How a directory is written. */
interface FolderOptions extends Pick<SaveOptions, "shardBytes"> {
  /** The type of its plain tensors, as torch calls it. */
  readonly dtype: string
  /** What config.json says of quantized modules. */
  readonly quantization?: Json
  /** Other files, by name. */
  readonly files?: Readonly<Record<string, object>>
}

/** Writes tensors, config.json and tokenizer files to a directory. */
export async function writeFolder(model: Model, path: string, tensors: Readonly<Record<string, RawTensor>>, { dtype, shardBytes, quantization, files: more = {} }: FolderOptions): Promise<void> {
  const { mkdir, readdir, rm } = await fileSystem("saveModel")
  await mkdir(path, { recursive: true })
  const files = await saveSafetensorsShards(path, tensors, { metadata: { format: "pt" }, ...(shardBytes !== undefined && { shardBytes }) })
  const written = [["config.json", configBytes(model, dtype, quantization)] as const, ...(await tokenizerFiles(model)), ...Object.entries(more).map(([file, json]) => [file, jsonBytes(json)] as const)]
  for (const [file, bytes] of written) await saveFile(`${path}/${file}`, one(bytes))
  // Parts of a model that was here before would be read instead.
  for (const old of await readdir(path)) if (/^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/.test(old) && !files.includes(old)) await rm(`${path}/${old}`)
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

const transposeBytes = (data: ArrayBufferView & { readonly BYTES_PER_ELEMENT?: number }, rows: number, columns: number): Uint8Array =>
  transposed(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), rows, columns, data.BYTES_PER_ELEMENT!)

const jsonBytes = (json: object): Uint8Array => new TextEncoder().encode(`${JSON.stringify(json, undefined, 2)}\n`)

/** config.json: as it was read, where nothing changed. */
function configBytes(model: Model, dtype: string, quantization: Json = {}): Uint8Array {
  const known = model.files?.get("config.json"), all = known === undefined ? {} : parseJson(known, "config.json")
  const stated = known !== undefined && isStated(model)
  const old = Object.fromEntries(Object.entries(all).filter(([field]) => !quantizationFields.includes(field) && (stated || field !== "layer_types")))
  // Since transformers 5 it is `dtype`.
  const key = "dtype" in old ? "dtype" : "torch_dtype", kept = stated
  const same = kept && (!(key in old) || old[key] === dtype)
  if (same && Object.keys(old).length === Object.keys(all).length && Object.keys(quantization).length === 0) return known
  return jsonBytes({ ...old, ...(kept ? {} : writeConfig(model.config)), ...(same ? {} : { [key]: dtype }), ...quantization })
}
/** Where config.json says how a checkpoint is quantized, which is true of that one alone. */
const quantizationFields = ["quantization_config", "quantization", "compression_config"]
