import { fail, mul, sub, sum, type Weight } from "@thimble/core"
import type { Json, Model } from "@thimble/models"
import type { Calibration } from "./calibration.ts"
import { divergencesFrom, type Changed } from "./divergence.ts"
import { errorsOf } from "./errors.ts"
import { gradientSums } from "./gradients.ts"
import { matrixOf, onDevice, weightOf, type Matrix, type Method, type Statistics } from "./method.ts"
import { hashOfModel } from "./model-hash.ts"
import { finds, showPattern, type Pattern } from "./rules.ts"
import { gram } from "./statistic.ts"
import { observe, streamOf, type Stream } from "./stream.ts"

/** What each of several methods would cost in a matrix, if it were the only one that is changed. Plain data, to be kept as JSON. */
export interface Sensitivities {
  /** SHA-256 of the model and of the calibration data. */
  readonly model: string
  readonly data: string
  readonly measure: SensitivityMeasure
  readonly matrices: readonly {
    readonly path: string
    readonly shape: readonly [rows: number, columns: number]
    readonly candidates: readonly { readonly method: Json; readonly format: string; readonly bytes: number; readonly loss: number }[]
  }[]
}

/**
 * `divergence`: KL divergence of the model's predictions, in nats per token. `output`: squared error of the matrix's own outputs, as
 * a share of their square. `fisher`: squared error of weights, each weighed by the mean square of its gradient, which is what the
 * loss rises by where the model is at a minimum.
 */
export type SensitivityMeasure = "divergence" | "output" | "fisher"

export interface SensitivityOptions {
  readonly candidates: readonly Method[]
  /** `divergence` unless given. */
  readonly measure?: SensitivityMeasure
  /** Which matrices; those of blocks unless given. */
  readonly matrices?: Pattern
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: { readonly path: string; readonly done: number; readonly total: number }) => void
}

/** Measures what methods cost in each matrix of a model. */
export async function sensitivities(from: Model, data: Calibration, { candidates, measure = "divergence", matrices, signal, onProgress }: SensitivityOptions): Promise<Sensitivities> {
  if (candidates.length === 0) fail("value", "sensitivities", "there are no candidates", "candidates: [rtn(int(2)), rtn(int(4))]")
  const balanced = candidates.find((c) => c.balance !== undefined)
  if (balanced) fail("value", "sensitivities", `${balanced.name} changes what gives a matrix its inputs, too`, "measure the method without factors")
  const surveying = candidates.find((c) => c.survey !== undefined)
  if (surveying) fail("value", "sensitivities", `${surveying.name} looks at all matrices at once`, "measure methods that look at one")
  const model = await from.loaded(), blocks = model.blocks(), layerOf = new Map(blocks.flatMap((b) => b.linears.map((p) => [p, b.layer] as const)))
  const paths = Object.entries(model.weights).filter(([path, { shape }]) => (matrices === undefined ? layerOf.has(path) : finds(matrices, { path, shape, ...(layerOf.has(path) && { layer: layerOf.get(path)! }) }))).map(([path]) => path)
  if (paths.length === 0) fail("value", "sensitivities", `${showPattern(matrices!)} finds no matrix`, Object.keys(model.weights).slice(0, 8).join(", "))
  const { loss: lossOf, dispose } = await measures[measure](model, data, signal), found = new Map<string, Sensitivities["matrices"][number]>(), total = paths.length
  const visit = async (own: readonly string[], statistics: (path: string) => Statistics, within?: Changed["within"]): Promise<void> => {
    for (const path of own) {
      const matrix = await matrixOf(path, model.weights[path]!), tried: Sensitivities["matrices"][number]["candidates"][number][] = []
      for (const method of candidates) {
        signal?.throwIfAborted()
        const target = method.target(matrix.shape)
        // A candidate that does not fit a matrix is none for it.
        if (target === undefined || "unfit" in target) continue
        const rounded = await method.round(matrix, statistics(path), { ...(signal && { signal }) })
        if (rounded === undefined) continue
        const weight = weightOf(rounded.stored, matrix.shape)
        try {
          tried.push({ method: method.toJSON(), format: typeof target.format === "string" ? target.format : target.format.name, bytes: weight.bytes, loss: await lossOf(matrix, weight, { statistics: statistics(path), ...(within && { within }) }) })
        } finally {
          for (const t of Object.values(weight.parts())) t.dispose()
        }
      }
      if (tried.length === 0) fail("value", "sensitivities", `no candidate fits ${path} [${matrix.shape.join(", ")}]`)
      found.set(path, { path, shape: matrix.shape, candidates: tried })
      onProgress?.({ path, done: found.size, total })
    }
  }
  let stream: Stream | undefined
  try {
    stream = await streamOf(model, data, signal)
    const wanted = [...new Set([gram, ...candidates.flatMap((c) => c.observes ?? [])])]
    const calibrated = async (before: Stream, own: readonly string[], part: Parameters<typeof observe>[1], layer?: number): Promise<void> => {
      if (own.length === 0) return
      const seen = await observe(before, part, new Map(own.map((p) => [p, wanted])), { ...(signal && { signal }) })
      try {
        await visit(own, (p) => seen.of(p), layer === undefined ? undefined : { layer, before })
      } finally {
        seen.dispose()
      }
    }
    for (const block of blocks) {
      await calibrated(stream, block.linears.filter((p) => paths.includes(p)), (x, see) => block.forward(x, { observe: see }), block.layer)
      stream = await stream.through((x) => block.forward(x), signal)
    }
    await calibrated(stream, paths.filter((p) => !layerOf.has(p)), (x, see) => model.head(x, { observe: see }))
  } finally {
    stream?.dispose()
    dispose?.()
  }
  return { model: await hashOfModel(model), data: data.hash, measure, matrices: paths.map((p) => found.get(p)!) }
}

interface Seen extends Pick<Changed, "within"> { readonly statistics: Statistics }
interface Measure {
  loss(matrix: Matrix, weight: Weight, seen: Seen): Promise<number>
  dispose?(): void
}
const measures: Readonly<Record<SensitivityMeasure, (model: Model, data: Calibration, signal: AbortSignal | undefined) => Promise<Measure>>> = {
  output: async () => ({ loss: async (matrix, weight, { statistics }) => (await errorsOf(matrix, weight, statistics)).outputError! }),
  async divergence(model, data, signal) {
    const { of, dispose } = await divergencesFrom(model, data, signal)
    return { loss: ({ path }, weight, { within }) => of({ model: model.with({ [path]: weight }), ...(within && { within }) }), dispose }
  },
  async fisher(model, data, signal) {
    const sums = await gradientSums(model, data, signal)
    for (const { sum } of sums.values()) sum.dispose()
    return {
      async loss({ path, shape, values }, weight) {
        const w = onDevice(values, shape), e = sub(w, weight.dense()), loss = sum(mul(mul(e, e), sums.get(path)!.squares))
        try {
          return Number((await loss.data())[0])
        } finally {
          w.dispose()
          loss.dispose()
        }
      },
    }
  },
}
