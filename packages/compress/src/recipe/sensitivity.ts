import { compile, crossEntropy, denseWeight, fail, grad, mul, narrow, realize, reshape, sub, sum, tensor, zeros, type Tensor, type Weight } from "@thimble/core"
import { evaluate, klDivergence, type Json, type Model } from "@thimble/models"
import type { Calibration } from "./calibration.ts"
import { errorsOf } from "./errors.ts"
import { matrixOf, onDevice, weightOf, type Matrix, type Method, type Statistics } from "./method.ts"
import { hashOfModel } from "./model-hash.ts"
import { finds, showPattern, type Pattern } from "./rules.ts"
import { gram } from "./statistic.ts"
import { observe, streamOf } from "./stream.ts"

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
  const model = await from.loaded(), blocks = model.blocks(), layerOf = new Map(blocks.flatMap((b) => b.linears.map((p) => [p, b.layer] as const)))
  const paths = Object.entries(model.weights).filter(([path, { shape }]) => (matrices === undefined ? layerOf.has(path) : finds(matrices, { path, shape, ...(layerOf.has(path) && { layer: layerOf.get(path)! }) }))).map(([path]) => path)
  if (paths.length === 0) fail("value", "sensitivities", `${showPattern(matrices!)} finds no matrix`, Object.keys(model.weights).slice(0, 8).join(", "))
  const lossOf = await measures[measure](model, data, signal), found = new Map<string, Sensitivities["matrices"][number]>(), total = paths.length
  const visit = async (own: readonly string[], statistics: (path: string) => Statistics): Promise<void> => {
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
          tried.push({ method: method.toJSON(), format: typeof target.format === "string" ? target.format : target.format.name, bytes: weight.bytes, loss: await lossOf(matrix, weight, statistics(path)) })
        } finally {
          for (const t of Object.values(weight.parts())) t.dispose()
        }
      }
      if (tried.length === 0) fail("value", "sensitivities", `no candidate fits ${path} [${matrix.shape.join(", ")}]`)
      found.set(path, { path, shape: matrix.shape, candidates: tried })
      onProgress?.({ path, done: found.size, total })
    }
  }
  let stream = await streamOf(model, data, signal)
  try {
    const wanted = [...new Set([gram, ...candidates.flatMap((c) => c.observes ?? [])])]
    const calibrated = async (own: readonly string[], part: Parameters<typeof observe>[1]): Promise<void> => {
      if (own.length === 0) return
      const seen = await observe(stream, part, new Map(own.map((p) => [p, wanted])), { ...(signal && { signal }) })
      try {
        await visit(own, (p) => seen.of(p))
      } finally {
        seen.dispose()
      }
    }
    for (const block of blocks) {
      await calibrated(block.linears.filter((p) => paths.includes(p)), (x, see) => block.forward(x, { observe: see }))
      stream = await stream.through((x) => block.forward(x), signal)
    }
    await calibrated(paths.filter((p) => !layerOf.has(p)), (x, see) => model.head(x, { observe: see }))
  } finally {
    stream.dispose()
  }
  return { model: await hashOfModel(model), data: data.hash, measure, matrices: paths.map((p) => found.get(p)!) }
}

type LossOf = (matrix: Matrix, weight: Weight, statistics: Statistics) => Promise<number>
const measures: Readonly<Record<SensitivityMeasure, (model: Model, data: Calibration, signal: AbortSignal | undefined) => Promise<LossOf>>> = {
  output: async () => async (matrix, weight, statistics) => (await errorsOf(matrix, weight, statistics)).outputError!,
  async divergence(model, data, signal) {
    const text = data.sequences.flatMap((s) => [...s]), metric = klDivergence(text, { context: data.length, bos: false })
    return async (matrix, weight) => (await evaluate(model.with({ [matrix.path]: weight }), { reference: model, metrics: [metric], ...(signal && { signal }) })).results[0].value
  },
  async fisher(model, data, signal) {
    const squares = await squaredGradients(model, data, signal)
    return async ({ path, shape, values }, weight) => {
      const w = onDevice(values, shape), e = sub(w, weight.dense()), loss = sum(mul(mul(e, e), squares.get(path)!))
      try {
        return Number((await loss.data())[0])
      } finally {
        w.dispose()
        loss.dispose()
      }
    }
  },
}

/** Mean squares of the gradients of sequences' losses, per token of a sequence, for each matrix: the diagonal of Fisher's information. */
async function squaredGradients(model: Model, data: Calibration, signal: AbortSignal | undefined): Promise<ReadonlyMap<string, Tensor>> {
  const paths = Object.keys(model.weights), dense = paths.map((p) => mul(model.weights[p]!.dense(), 1))
  await realize(...dense)
  const step = compile((ids: Tensor, weights: readonly Tensor[], kept: readonly Tensor[]) => {
    const length = ids.shape[1]!, own = model.with(Object.fromEntries(paths.map((p, i) => [p, denseWeight(weights[i]!)])))
    const logits = narrow(own.forward(ids), 1, 0, length - 1), targets = narrow(ids, 1, 1, length - 1)
    const loss = crossEntropy(reshape(logits, [length - 1, logits.shape[2]!]), reshape(targets, [length - 1]))
    return grad(loss, weights as Tensor[]).map((g, i) => kept[i]!.add(mul(g, g)))
  }, { donate: [2] })
  let kept: Tensor[] = dense.map((t) => zeros(t.shape))
  try {
    for (const s of data.sequences) {
      signal?.throwIfAborted()
      using ids = tensor(s, { shape: [1, s.length], dtype: "i32" })
      kept = (await step(ids, dense, kept)) as Tensor[]
    }
    return new Map(paths.map((p, i) => [p, kept[i]!]))
  } finally {
    step.dispose()
    for (const t of dense) t.dispose()
  }
}
