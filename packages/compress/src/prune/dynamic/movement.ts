import { fail, mul, sub, type Tensor } from "@thimble/core"
import type { Score } from "../score.ts"

/**
 * One step of movement scores, S ← S − w·g: what moves away from zero gains (Sanh et al., arXiv 2005.07683, equation 3). `g` is the
 * gradient as if nothing had gone: of a masked matrix with `gradient: "all"`. A node of the graph of a training step.
 */
export const movementStep = (scores: Tensor, w: Tensor, g: Tensor): Tensor => sub(scores, mul(w, g))

/** Ranks weights by movement scores that training has summed, by matrix. They may be below 0: those go first. */
export const movement = (scores: Readonly<Record<string, Float32Array>>): Score => ({
  name: "movement",
  toJSON: () => fail("value", "recipe", "scores of a training run are not written down with a recipe"),
  of({ path, values }) {
    const own = scores[path] ?? fail("value", "movement", `there are no scores of ${path}`)
    return own.length === values.length ? Float64Array.from(own) : fail("shape", "movement", `${own.length} scores for ${values.length} weights of ${path}`)
  },
})
