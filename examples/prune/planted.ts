import { denseWeight, realize, tensor, tensorsOf, type Tensor, type Weight } from "@thimble/core"
import type { Model } from "@thimble/models"

/** The share of channels, the largest, and how much larger they become: a power of two, so that no bit of a weight changes but its exponent. */
const [share, factor] = [1 / 16, 32]

/**
 * The same function with inputs that stand out, as large models have them by themselves (Dettmers et al., arXiv 2208.07339): norms scale
 * their largest channels up, and the matrices that read them have columns as much smaller.
 */
export async function planted(model: Model): Promise<Model> {
  const changed: Record<string, Weight | Tensor> = {}
  for (const { links } of model.blocks())
    for (const { from, into } of links.fold) {
      const name = `${from.path}.weight`, norm = model.vectors[name]
      if (norm === undefined) continue
      using plain = norm.cast("f32").mul(1)
      const sizes = ((await plain.data()) as Float32Array).map(Math.abs), least = sizes.toSorted((a, b) => b - a)[Math.round(sizes.length * share) - 1]!
      const scales = (by: number): Tensor => tensor(sizes.map((s) => (s >= least ? by : 1))), down = scales(1 / factor)
      changed[name] = norm.cast("f32").mul(scales(factor)).cast(norm.dtype)
      for (const { path } of into) changed[path] = denseWeight(model.weights[path]!.dense().mul(down))
    }
  await realize(...tensorsOf(changed))
  return model.with(changed)
}
