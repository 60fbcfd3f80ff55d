import { denseWeight, realize, tensor, tensorsOf, type Tensor, type Weight } from "@thimble/core"
import type { Model } from "@thimble/models"

/** One of so many channels, and how much larger it becomes: a power of two, so that no bit of a weight changes but its exponent. */
const [every, factor] = [16, 32]

/**
 * The same function with inputs that stand out, as large models have them by themselves (Dettmers et al., arXiv 2208.07339): norms scale
 * some channels up, and the matrices that read them have columns as much smaller.
 */
export async function planted(model: Model): Promise<Model> {
  const changed: Record<string, Weight | Tensor> = {}
  for (const { links } of model.blocks())
    for (const { from, into } of links.fold) {
      const name = `${from.path}.weight`, norm = model.vectors[name]
      if (norm === undefined) continue
      const up = scales(norm.shape[0]!, factor), down = scales(norm.shape[0]!, 1 / factor)
      changed[name] = norm.cast("f32").mul(up)
      for (const { path } of into) changed[path] = denseWeight(model.weights[path]!.dense().mul(down))
    }
  await realize(...tensorsOf(changed))
  return model.with(changed)
}
const scales = (n: number, by: number): Tensor => tensor(Float32Array.from({ length: n }, (_, i) => (i % every === 0 ? by : 1)))
