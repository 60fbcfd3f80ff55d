import { isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import { add, castTo, div, mul } from "../ops/elementwise.ts"
import { sameShape } from "../shape.ts"
import { Tensor } from "../tensor.ts"
import { leavesOf, mapTree } from "../tree.ts"

/**
 * The mean of gradients of micro-batches, Σ wᵢ·gᵢ / Σ wᵢ, as a tree of the same form. Weights are 1 unless given; where
 * losses are means over tokens, the tokens of each micro-batch are the weights that make it the mean of the whole
 * batch. Feeding the result back with the sum of its weights accumulates one micro-batch at a time:
 * `mean = accumulate([mean, grads], [seen, count])`. f16 and bf16 are summed in f32.
 */
export function accumulate<T>(grads: readonly T[], weights?: readonly (number | Tensor)[]): T {
  if (grads.length === 0) fail("value", "accumulate", "needs at least one tree of gradients")
  if (weights !== undefined && weights.length !== grads.length) fail("value", "accumulate", `${weights.length} weights for ${grads.length} trees`)
  for (const w of weights ?? []) if (w instanceof Tensor ? w.size !== 1 : !(w >= 0 && w < Infinity)) fail("value", "accumulate", `weights must be finite and ≥ 0, got ${String(w)}`)
  if (weights?.every((w) => w === 0)) fail("value", "accumulate", "the weights sum to 0")
  const [first, ...rest] = grads
  const others = rest.map((tree, i) => {
    const byPath = new Map(leavesOf(tree).map(({ path, tensor }) => [path, tensor]))
    const expected = leavesOf(first)
    const unfit = expected.filter(({ path, tensor }) => !sameShape(byPath.get(path)?.shape ?? [-1], tensor.shape)).map(({ path, tensor }) => `${path} ${showShape(tensor.shape)}`)
    if (unfit.length > 0 || byPath.size !== expected.length) fail("shape", "accumulate", `tree ${i + 1} differs from tree 0${unfit.length > 0 ? ` in ${unfit.join(", ")}` : " in its names"}`)
    return byPath
  })
  const whole = (weights ?? grads.map(() => 1)).reduce<number | Tensor>((a, b) => (typeof a === "number" && typeof b === "number" ? a + b : add(a, b)), 0)
  const weighted = (g: Tensor, i: number): Tensor => {
    const wide = g.dtype === "f64" ? g : castTo(g, "f32"), w = weights?.[i] ?? 1
    return w === 1 ? wide : mul(wide, w)
  }
  const made = new Map<Tensor, Tensor>()
  return mapTree(first!, (g, path) => {
    if (!isFloat(g.dtype) || rest.length === 0) return g
    let mean = made.get(g)
    if (mean === undefined) {
      const total = others.reduce((sum, tree, i) => add(sum, weighted(tree.get(path)!, i + 1)), weighted(g, 0))
      made.set(g, (mean = castTo(div(total, whole), g.dtype)))
    }
    return mean
  })
}
