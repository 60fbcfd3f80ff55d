import { castTo, denseWeight, fail, mul, realize, tensor, type Tensor, type Weight } from "@thimble/core"
import type { MatrixShape } from "../../quantizer.ts"
import { fakeWeight, type FakeWeight } from "../../quantize/fake-weight.ts"
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
      return preparedWeight(values, tensor(kept, { shape, dtype: "bool" }), shape)
    },
  }
}

function preparedWeight(values: Tensor, kept: Tensor, shape: MatrixShape): FakeWeight {
  const rounded = (): Tensor => maskedWeight(values, kept).dense()
  return fakeWeight("f32", {
    form: "masked", shape, parts: { values, kept }, rounded,
    async stored(): Promise<Weight> {
      const left = rounded()
      await realize(left)
      return denseWeight(left)
    },
    again: (p) => preparedWeight(p.values!, p.kept!, shape),
  })
}
