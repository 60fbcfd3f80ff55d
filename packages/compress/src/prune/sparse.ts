import { castTo, denseWeight, fail, mul, ne, realize, tensor, where, type Tensor, type Weight } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"
import { fakeWeight, type FakeWeight } from "../quantize/fake-weight.ts"
import type { Trainable } from "../quantize/qat.ts"
import { checkSparsity, keptByRow, type Sparsity } from "./sparsity.ts"

/**
 * Trains what pruning left of matrices: zeros stay zeros. Which ones is decided once: of each row those of least magnitude, or as `sparsity`
 * says; without it those that are zero, by whatever method pruned the matrix. Masks are constants, so that no gradient reaches what is gone.
 */
export function sparse(sparsity?: Sparsity): Trainable {
  if (sparsity !== undefined) checkSparsity("sparse", sparsity)
  return {
    async prepared(weight, path, { activations = "f32" }) {
      if (activations !== "f32") fail("value", "sparse", `${path} is trained as plain numbers, and its activations are not f32`)
      const { shape } = weight, values = mul(castTo(weight.dense(), "f32"), 1)
      await realize(values)
      const found = (await values.data()) as Float32Array, kept = sparsity === undefined ? Uint8Array.from(found, (v) => (v === 0 ? 0 : 1)) : keptByRow(found.map(Math.abs), shape, sparsity)
      return sparseWeight(values, tensor(kept, { shape, dtype: "u8" }), shape)
    },
  }
}

function sparseWeight(values: Tensor, kept: Tensor, shape: MatrixShape): FakeWeight {
  const rounded = (): Tensor => where(ne(kept, 0), values, 0)
  return fakeWeight("f32", {
    form: "sparse", shape, parts: { values, kept }, rounded,
    async stored(): Promise<Weight> {
      const left = rounded()
      await realize(left)
      return denseWeight(left)
    },
    again: (p) => sparseWeight(p.values!, p.kept!, shape),
  })
}
