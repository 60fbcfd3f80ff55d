import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { int } from "@thimble/compress"
import { quantizeWeight, stateDict, tensorsOf, type Format } from "@thimble/core"
import { saveSafetensors } from "@thimble/formats"
import type { Corpus } from "./data.ts"
import { evaluate, type Protocol, type Quality } from "./evaluate.ts"
import { generate } from "./generate.ts"
import { mapWeights, type Parameters } from "./model.ts"
import { train, type TrainOptions, type Trained } from "./train.ts"

export interface DemoOptions extends Omit<TrainOptions, "text"> {
  readonly corpus: Corpus
  readonly protocol: Protocol
  readonly prompt: string
  /** Bytes of each sample. */
  readonly sample: number
  /** Folder for the checkpoints. */
  readonly out: string
  /** Called when training has ended, and with each row of the table. */
  readonly onTrained?: (trained: Trained) => void
  readonly onRow?: (row: Row) => void
}
/** One model of the table. */
export interface Row extends Quality {
  readonly format: string
  readonly bytes: number
  /** Stored bits per parameter, scales included. */
  readonly bits: number
  readonly tokensPerSecond: number
  readonly sample: string
  readonly file: string
}

/** The formats to round to. */
const formats: readonly Format[] = [int(8), int(4, { group: 32 })]

/** Trains a model, rounds it to each format, and measures what that cost. */
export async function demo(options: DemoOptions): Promise<{ trained: Trained; rows: Row[] }> {
  const { config, corpus, protocol, out, seed } = options
  await mkdir(out, { recursive: true })
  const trained = await train({ ...options, text: corpus.training })
  options.onTrained?.(trained)
  const original = trained.parameters
  const parameters = Object.values(stateDict(original)).reduce((n, t) => n + t.size, 0)

  const measure = async (format: string, model: Parameters): Promise<Row> => {
    const state = stateDict(model)
    const file = join(out, `${format}.safetensors`)
    await saveSafetensors(file, state, { metadata: { format: "pt", config: JSON.stringify(config), weights: format } })
    const bytes = Object.values(state).reduce((n, t) => n + t.bytes, 0)
    const quality = await evaluate(original, model, config, corpus.heldOut, protocol)
    const prompt = new TextEncoder().encode(options.prompt)
    const write = () => generate(model, config, { prompt, count: options.sample, temperature: 0.7, seed })
    // The first time is that of compilers: only the second is timed.
    await write()
    const { bytes: written, tokensPerSecond } = await write()
    const row = { ...quality, format, bytes, bits: (8 * bytes) / parameters, tokensPerSecond, sample: options.prompt + new TextDecoder().decode(written), file }
    options.onRow?.(row)
    return row
  }

  const rows = [await measure("f32", original)]
  for (const format of formats) {
    const model = await quantize(original, format)
    rows.push(await measure(format.name, model))
    const kept = new Set(tensorsOf(original))
    for (const t of tensorsOf(model)) if (!kept.has(t)) t.dispose()
  }
  return { trained, rows }
}

/** Rounds every weight to the nearest value of a format; the few vectors stay. Products round their input to int8, too. */
export const quantize = (model: Parameters, format: Format): Promise<Parameters> =>
  mapWeights(model, async (w) => quantizeWeight(format, (await w.dense().data()) as Float32Array, w.shape, { activations: "int8" }))

