import { abs, add, amax, matmul, maximum, mul, narrow, reshape, sum, transpose, type Tensor } from "@thimble/core"

/** What is kept of the inputs of a matrix while a model is calibrated: one tensor on the current device. */
export interface Statistic {
  readonly name: string
  /** What a batch x [tokens, columns] says, of `all` tokens that will come: a node of the graph that computes the batch. */
  take(x: Tensor, all: number): Tensor
  /** How what batches say is joined: summed, the larger one elementwise (of numbers that are not negative), or one below the other. */
  readonly combine: "add" | "maximum" | "append"
}

/** Σ xᵀx [columns, columns]: half of what is needed for the second derivative of the squared output error. */
export const gram: Statistic = { name: "gram", combine: "add", take: (x) => matmul(transpose(x), x) }
/** Σ x² [columns]. */
export const squares: Statistic = { name: "squares", combine: "add", take: (x) => sum(mul(x, x), { axis: 0 }) }
/** Σ |x| [columns]. */
export const magnitudes: Statistic = { name: "magnitudes", combine: "add", take: (x) => sum(abs(x), { axis: 0 }) }
/** Σ x [columns]. */
export const sums: Statistic = { name: "sums", combine: "add", take: (x) => sum(x, { axis: 0 }) }
/** max |x| [columns]. */
export const largest: Statistic = { name: "largest", combine: "maximum", take: (x) => amax(abs(x), { axis: 0 }) }
/** At least `count` of the inputs [about count, columns], evenly spaced; all of them where there are fewer. */
export const sampled = (count: number): Statistic => ({
  name: `sampled ${count}`, combine: "append",
  take(x, all) {
    const [tokens, columns] = x.shape as [number, number]
    const own = Math.min(tokens, Math.max(1, Math.ceil((count * tokens) / all))), step = Math.floor(tokens / own)
    return reshape(narrow(reshape(narrow(x, 0, 0, own * step), [own, step, columns]), 1, 0, 1), [own, columns])
  },
})

/** Joins what was kept with what a batch says. */
export const joined = { add, maximum } satisfies Record<Exclude<Statistic["combine"], "append">, (kept: Tensor, taken: Tensor) => Tensor>
