import { denseWeight, fail, quantizedWeight, ThimbleError, uploadParts, type DType, type Weight } from "@thimble/core"
import { blocksOf, dialects, fileSystem, type CompressedLayout, type DialectName, type DialectWriter, type IntegerCodes, type MicroCodes, type RawTensor, type StoredActivations, type StoredModule } from "@thimble/formats"
import type { Model } from "../model.ts"
import { plainTensors, saveModel, torchNames, writeFolder, type SaveOptions } from "../save.ts"
import { codesOfWeight } from "./codes.ts"
import type { Fits, Stores } from "./held.ts"
import { activationsOf, checkFit, isBlocks, isPlain, matricesOf, refuseMisfits, tiedHead, type ExportFormat, type ExportReader, type Matrix, type Misfits } from "./fits.ts"

/** How a model is exported; what only some formats have is there for those alone. */
export type ExportOptions<F extends ExportFormat = ExportFormat> =
  Pick<SaveOptions, "signal"> & {
    /** What matrices that are not quantized are written in; as they are stored unless given. */
    readonly dtype?: NonNullable<SaveOptions["dtype"]>
  }
  & (F extends "gguf" ? Pick<SaveOptions, "name"> : Pick<SaveOptions, "shardBytes"> & {
    /** What is to read the directory, `vllm` unless given: it wants matrices that it runs as one stored alike. */
    readonly reader?: ExportReader
  })
  & (F extends "compressed-tensors" ? {
    /**
     * How integers are stored; packed unless given, or in bytes where their activations are rounded to int8. `int-quantized` has products of
     * 8-bit integers: activations of which the model does not say how they are rounded are read back as rounded token by token.
     */
    readonly layout?: CompressedLayout
  } : unknown)

/**
 * Writes a model with quantized weights as other libraries load it: a directory in one of the dialects of quantized
 * checkpoints, with config.json and its `quantization_config`, safetensors and tokenizer files; or a GGUF file, which is
 * `model.gguf` in the directory unless the path ends in `.gguf`. Codes and scales are written as they are, never rounded
 * again, so that {@link loadModel} gives a model with the same logits. Weights that are not quantized stay so. That activations are rounded
 * to int8 is written in the dialect that says it, compressed-tensors, by token or with the scale that was found for them; elsewhere it is the
 * reader's affair, and a scale has no place. What a format cannot store is an error that names all such weights, the reasons, and the
 * formats that could; where types know what a model's recipe stores (`int(3)` for awq), already one of types.
 */
export async function exportModel<F extends ExportFormat, K extends string = string>(model: Model & Stores<K>, path: string, format: F & Fits<F, K>, options: ExportOptions<F> = {} as ExportOptions<F>): Promise<void> {
  if (format !== "gguf" && !Object.hasOwn(dialects, format)) fail("value", "exportModel", `no format is called '${format}'`, `gguf, ${Object.keys(dialects).join(", ")}`)
  const matrices = matricesOf(model), all: ExportOptions & { readonly reader?: ExportReader; readonly layout?: CompressedLayout } = options
  checkFit(matrices, format, { ...(all.layout && { layout: all.layout }) }, all.reader ?? "vllm")
  if (format === "gguf") await exportGguf(model, matrices, path, options)
  else await exportFolder(model, matrices, path, format as DialectName, options as ExportOptions<DialectName>)
}

async function exportGguf(model: Model, matrices: readonly Matrix[], path: string, { dtype, ...options }: SaveOptions): Promise<void> {
  const made: Record<string, Weight> = {}
  try {
    for (const m of matrices) {
      if (isBlocks(m.weight) || isPlain(m)) continue
      const { format, parts } = blocksOf(m.path, (await codesOfWeight(m.weight)) as IntegerCodes | MicroCodes)
      made[m.path] = quantizedWeight(format, m.weight.shape, uploadParts(parts))
    }
    if (dtype !== undefined) for (const m of matrices) if (isPlain(m) && m.weight.storage !== dtype) made[m.path] = denseWeight(m.weight.dense().cast(dtype))
    const file = /\.gguf$/i.test(path) ? path : `${path}/model.gguf`
    if (file !== path) await (await fileSystem("exportModel")).mkdir(path, { recursive: true })
    await saveModel(model.with(made), file, options)
  } finally {
    for (const w of Object.values(made)) for (const t of Object.values(w.parts())) t.dispose()
  }
}

async function exportFolder(model: Model, matrices: readonly Matrix[], path: string, format: DialectName, options: ExportOptions<DialectName>): Promise<void> {
  const { signal, dtype: wanted, shardBytes } = options, { layout } = options as ExportOptions<"compressed-tensors">
  const packed = matrices.filter((m) => !isPlain(m)), plain = matrices.filter(isPlain)
  if (packed.length === 0) fail("value", "exportModel", "no weight of the model is quantized", "saveModel writes plain weights")
  const dtype = torchNames[wanted ?? commonType(plain) ?? Object.values(model.vectors)[0]!.dtype]!, dialect = dialects[format]
  const kept = [...plain.filter(({ use }) => !use.embedding).map((m) => m.path), ...tiedHead(model.config)]
  const writer = dialect.writer({ packed: new Map(packed.map((m) => [m.path, m.outline!])), kept, activations: await storedActivations(packed) }, { dtype, ...(layout && { layout }) })
  const tensors = { ...plainTensors(model, { ...(wanted && { dtype: wanted }), ...(signal && { signal }), which: (name) => plain.some((m) => m.path === name) }) }
  const misfits: Misfits = new Map()
  const write = moduleWriter(writer, signal)
  for (const m of packed) {
    signal?.throwIfAborted()
    try {
      Object.assign(tensors, await write(m))
    } catch (e) {
      // What only codes can tell.
      if (!(e instanceof ThimbleError) || e.code !== "value") throw e
      misfits.set(m.path, e.message.replace(/^[^:]*: '[^']*' /, ""))
    }
  }
  refuseMisfits(matrices, misfits, format)
  await writeFolder(model, path, tensors, {
    dtype, quantization: Object.fromEntries(dialect.fields.map((field) => [field, writer.settings])),
    ...(writer.files && { files: writer.files }), ...(shardBytes !== undefined && { shardBytes }),
  })
}

/** What products of matrices see, with scales as numbers. */
async function storedActivations(matrices: readonly Matrix[]): Promise<ReadonlyMap<string, StoredActivations>> {
  const all = new Map<string, StoredActivations>()
  for (const { path, weight } of matrices) {
    const a = activationsOf(weight)
    if (a === "int8PerToken") all.set(path, a)
    else if (typeof a === "object") all.set(path, { ...a, scale: typeof a.scale === "number" ? a.scale : await a.scale.item() })
  }
  return all
}

function commonType(plain: readonly Matrix[]): DType | undefined {
  const counts = Map.groupBy(plain, ({ weight }) => weight.storage as DType)
  return [...counts].sort(([, a], [, b]) => b.length - a.length)[0]?.[0]
}

/** Tensors below this share of a module's bytes are kept until they are written; the others are made again. */
const small = 1 / 8

/**
 * The tensors of packed modules. Files have them in an order of their own, by type, so all of a module's are made at once,
 * the small ones kept, and the large ones made again when it is their turn: few are in memory at a time.
 */
function moduleWriter(writer: DialectWriter, signal: AbortSignal | undefined): (m: Matrix) => Promise<Record<string, RawTensor>> {
  let recent: { readonly path: string; readonly module: Promise<StoredModule> } | undefined
  const make = ({ path, weight }: Matrix): Promise<StoredModule> => {
    signal?.throwIfAborted()
    if (recent?.path !== path) recent = { path, module: codesOfWeight(weight).then((codes) => writer.write(path, codes!)) }
    return recent.module
  }
  return async (m) => {
    const module = await make(m), all = Object.values(module).reduce((n, { data }) => n + data.byteLength, 0)
    return Object.fromEntries(Object.entries(module).map(([suffix, { dtype, shape, data }]) => [
      `${m.path}.${suffix}`, { dtype, shape, bytes: data.byteLength < all * small ? data : async () => (await make(m))[suffix]!.data },
    ]))
  }
}
