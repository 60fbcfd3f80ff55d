import { compile, tensor, type Tensor } from "@thimble/core"
import type { Run } from "./metric.ts"

/** Rows of positions of one length: what the model sees, and what is to be predicted at each, −1 where nothing is. */
export interface Row { readonly inputs: Int32Array; readonly targets: Int32Array }

/** Logits of a batch take at most this many bytes, if one row does. */
const budget = 64 * 2 ** 20
/** More positions at a time make nothing faster. */
const positions = 2048

/** How many rows are computed at once. */
const batchOf = (rows: number, length: number, vocabulary: number): number =>
  Math.max(1, Math.min(rows, Math.floor(positions / length), Math.floor(budget / (4 * vocabulary * length))))

/**
 * Computes numbers for all positions of all rows, a batch of rows at a time, with one program: `numbers` gets ids and
 * targets [batch, length], i32, and gives [batch, length] tensors of f32; `each` gets their values of one row at a time.
 */
export async function inBatches<K extends string>(run: Run, rows: readonly Row[], numbers: (ids: Tensor, targets: Tensor) => Record<K, Tensor>, each: (row: number, values: Record<K, Float32Array>) => void): Promise<void> {
  const length = rows[0]!.inputs.length, batch = batchOf(rows.length, length, run.model.config.vocabulary)
  const step = compile((ids: Tensor, targets: Tensor) => numbers(ids, targets))
  const gathered = (of: keyof Row, first: number, blank: number): Tensor => {
    const all = new Int32Array(batch * length).fill(blank)
    rows.slice(first, first + batch).forEach((r, i) => all.set(r[of], i * length))
    return tensor(all, { shape: [batch, length], dtype: "i32" })
  }
  try {
    for (let first = 0; first < rows.length; first += batch) {
      run.signal?.throwIfAborted()
      using ids = gathered("inputs", first, 0)
      using targets = gathered("targets", first, -1)
      const made = await step(ids, targets) as Record<K, Tensor>
      const names = Object.keys(made) as K[], values = {} as Record<K, Float32Array>
      for (const name of names) {
        values[name] = (await made[name].data()) as Float32Array
        made[name].dispose()
      }
      const here = Math.min(batch, rows.length - first)
      for (let i = 0; i < here; i++) {
        const own = {} as Record<K, Float32Array>
        for (const name of names) own[name] = values[name].subarray(i * length, (i + 1) * length)
        each(first + i, own)
      }
      run.progress((first + here) * length, rows.length * length)
    }
  } finally {
    step.dispose()
  }
}
