import { bitmask, csr, magnitude, nOfM, plan, prune, pruned, unstructured, type SparseFormat, type Store } from "@thimble/compress"
import type { Model } from "@thimble/models"

/** Stores of values in bf16: with zeros, and without. */
const candidates: readonly ("bf16" | SparseFormat)[] = ["bf16", bitmask({ values: "bf16" }), csr({ values: "bf16" }), nOfM(2, 4, { values: "bf16" }), nOfM(4, 8, { values: "bf16" })]

/** The matrices of blocks in a store, values as they are. */
export async function storedIn(model: Model, store: Store): Promise<Model> {
  return (await plan(model, prune({ default: pruned({ score: magnitude(), pattern: unstructured(0), store }) })).run().result).model
}

/** The store of matrices that takes the least bytes, and what the model takes with it. */
export async function smallest(model: Model): Promise<{ readonly store: Store; readonly bytes: number }> {
  const own = model.blocks().flatMap((b) => b.linears.map((p) => model.weights[p]!)), rest = model.bytes - own.reduce((n, w) => n + w.bytes, 0)
  const seen = await Promise.all(own.map(async (w) => {
    using dense = w.dense().cast("f32").mul(1)
    const values = (await dense.data()) as Float32Array, [, columns] = w.shape
    return { shape: w.shape, there: values.reduce((n, v) => n + Number(v !== 0), 0), fits: (n: number, m: number) => columns % m === 0 && runsHold(values, n, m) }
  }))
  const sizes = candidates.flatMap((store): { readonly store: Store; readonly bytes: number }[] => {
    if (store === "bf16") return [{ store, bytes: rest + seen.reduce((n, { shape: [r, c] }) => n + 2 * r * c, 0) }]
    const [, n, m] = /^(\d+):(\d+) /.exec(store.name) ?? []
    return n !== undefined && !seen.every((s) => s.fits(Number(n), Number(m))) ? [] : [{ store, bytes: rest + seen.reduce((sum, { shape, there }) => sum + store.storedBytes(shape, there), 0) }]
  })
  return sizes.reduce((a, b) => (b.bytes < a.bytes ? b : a))
}

/** Whether at most n of each m neighbours are not zero. */
function runsHold(values: Float32Array, n: number, m: number): boolean {
  for (let at = 0; at < values.length; at += m) {
    let there = 0
    for (let i = at; i < at + m; i++) if (values[i] !== 0) there++
    if (there > n) return false
  }
  return true
}
