import { add, linear, mean, mul, randn, square, sub, tensor, tensorsOf, type Tensor } from "@thimble/core"
import type { Json, Model } from "@thimble/models"
import { smallModel } from "../../models/test/random-model.ts"
import { network, type Data, type Loss, type Network } from "../src/index.ts"

/** A Llama with a vocabulary of 40 and a context of 64; of `layers` blocks. */
export const llama = (layers = 2, changed: Json = {}): Model => smallModel("llama", { num_hidden_layers: layers, ...changed })

/** A text in which the next token follows from the one before. */
export const text = Int32Array.from({ length: 600 }, (_, i) => (i * 7) % 37)

/** All values of a tree of tensors. */
export const valuesOf = (tree: unknown): Promise<number[][]> => Promise.all(tensorsOf(tree).map(async (t) => [...(await t.data())]))

/** Lines through points: y = x·wᵀ + b. */
export const lines = (seed = 1): Network<{ readonly w: Tensor; readonly b: Tensor }> =>
  network({ parameters: { w: randn([2, 3], { seed }), b: randn([2], { seed: seed + 1 }) }, forward: (p, x) => linear(x, p.w, p.b), dimensions: { classes: 2 } })
/** The distance of logits from what they should be of points on a line. */
export const distance: Loss = {
  name: "distance", needs: { student: ["logits"], teacher: [] },
  compute: ({ student }) => mean(square(sub(student.logits!, 1))),
}
/** Points, `batch` at a time, whose values depend on their number alone. */
export const points = (batch: number, change: (index: number, x: Tensor) => Tensor = (_, x) => x): Data => ({
  id: () => `points ${batch}`,
  batch: (index) => ({ inputs: change(index, add(mul(randn([batch, 3], { seed: 100 + index }), 0.5), 0.1)), labels: tensor(new Int32Array(batch), { shape: [batch] }) }),
})
