import { castTo, fail, mul, realize, tensor } from "@thimble/core"
import type { Trainable } from "../../quantize/qat.ts"
import { checkSparsity, keptByRow, type Sparsity } from "../sparsity.ts"
import { maskedWeight } from "./masked-weight.ts"

/**
 * Trains what pruning left of matrices: zeros stay zeros. Which ones is decided once: of each row those of least magnitude, or as `sparsity`
 * says; without it those that are zero, by whatever method pruned the matrix. Masks are constants, so that no gradient reaches what is gone.
 */
export function masked(sparsity?: Sparsity): Trainable {
  if (sparsity !== undefined) checkSparsity("masked", sparsity)
  return {
    async prepared(weight, path, { activations = "f32" }) {
      if (activations !== "f32") fail("value", "masked", `${path} is trained as plain numbers, and its activations are not f32`)
      const { shape } = weight, values = mul(castTo(weight.dense(), "f32"), 1)
      await realize(values)
      const found = (await values.data()) as Float32Array, kept = sparsity === undefined ? Uint8Array.from(found, (v) => (v === 0 ? 0 : 1)) : keptByRow(found.map(Math.abs), shape, sparsity)
      return maskedWeight(values, tensor(kept, { shape, dtype: "bool" }))
    },
  }
}
