import { compile, crossEntropy, denseWeight, grad, mul, narrow, realize, reshape, tensor, zeros, type Tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import type { Calibration } from "./calibration.ts"

/** Gradients of a matrix [rows, columns]: of sequences' losses per token, their mean and their mean square. */
export interface Gradients { readonly mean: Float32Array; readonly squares: Float32Array }

/** Sums of what sequences' gradients and their squares are, for each matrix, on the device: the latter is the diagonal of Fisher's information. */
export async function gradientSums(model: Model, data: Calibration, signal: AbortSignal | undefined): Promise<ReadonlyMap<string, { readonly sum: Tensor; readonly squares: Tensor }>> {
  const paths = Object.keys(model.weights), dense = paths.map((p) => mul(model.weights[p]!.dense(), 1))
  await realize(...dense)
  const step = compile((ids: Tensor, weights: readonly Tensor[], kept: readonly Tensor[]) => {
    const length = ids.shape[1]!, own = model.with(Object.fromEntries(paths.map((p, i) => [p, denseWeight(weights[i]!)])))
    const logits = narrow(own.forward(ids), 1, 0, length - 1), targets = narrow(ids, 1, 1, length - 1)
    const loss = crossEntropy(reshape(logits, [length - 1, logits.shape[2]!]), reshape(targets, [length - 1])), gradients = grad(loss, weights as Tensor[])
    return [...gradients.map((g, i) => kept[i]!.add(g)), ...gradients.map((g, i) => kept[paths.length + i]!.add(mul(g, g)))]
  }, { donate: [2] })
  let kept: Tensor[] = [...dense, ...dense].map((t) => zeros(t.shape))
  try {
    for (const s of data.sequences) {
      signal?.throwIfAborted()
      using ids = tensor(s, { shape: [1, s.length], dtype: "i32" })
      kept = (await step(ids, dense, kept)) as Tensor[]
    }
    return new Map(paths.map((p, i) => [p, { sum: kept[i]!, squares: kept[paths.length + i]! }]))
  } catch (e) {
    for (const t of kept) t.dispose()
    throw e
  } finally {
    step.dispose()
    for (const t of dense) t.dispose()
  }
}

/** Gradients of some matrices over calibration data, on the host. */
export async function gradientsOf(model: Model, data: Calibration, paths: readonly string[], signal?: AbortSignal): Promise<ReadonlyMap<string, Gradients>> {
  const sums = await gradientSums(model, data, signal), count = data.sequences.length, mean = async (t: Tensor): Promise<Float32Array> => ((await t.data()) as Float32Array).map((v) => v / count)
  try {
    const found = new Map<string, Gradients>()
    for (const p of paths) found.set(p, { mean: await mean(sums.get(p)!.sum), squares: await mean(sums.get(p)!.squares) })
    return found
  } finally {
    for (const { sum, squares } of sums.values()) for (const t of [sum, squares]) t.dispose()
  }
}
