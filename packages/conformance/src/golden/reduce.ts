import {
  all, amax, amin, any, argmax, argmin, countNonzero, cummax, cumprod, cumsum, logsumexp, max, maskedSelect, mean, min, nonzero, norm, prod, sort, std, sum, topk, variance,
  type ReduceOptions, type Tensor,
} from "@thimble/core"
import type { Inputs, Outputs, Row } from "./case.ts"

interface Reduced { readonly dim: number | readonly number[]; readonly keepdim?: boolean }
interface Spread { readonly dim: number; readonly unbiased: boolean }
const over = (f: (x: Tensor, options: ReduceOptions) => Tensor) => ({ x }: Inputs, { dim, keepdim = false }: Reduced): Tensor => f(x, { axis: dim, keepDims: keepdim })
const arg = (f: typeof argmax) => ({ x }: Inputs, { dim, keepdim }: { dim: number; keepdim: boolean }): Tensor => f(x, { axis: dim, keepDims: keepdim })
const both = ({ values, indices }: { values: Tensor; indices: Tensor }): Outputs => [values, indices]

export const reduce = {
  sum: over(sum), mean: over(mean), prod: over(prod), amax: over(amax), amin: over(amin), logsumexp: over(logsumexp),
  all: over(all), any: over(any), count_nonzero: over(countNonzero),
  sum_all: ({ x }) => sum(x), mean_all: ({ x }) => mean(x), prod_all: ({ x }) => prod(x),
  var: ({ x }, { dim, unbiased }: Spread) => variance(x, { axis: dim, correction: Number(unbiased) }),
  std: ({ x }, { dim, unbiased }: Spread) => std(x, { axis: dim, correction: Number(unbiased) }),
  norm: ({ x }, { p, dim }: { p: number | "inf"; dim: number }) => norm(x, { p: p === "inf" ? Infinity : p, axis: dim }),

  argmax: arg(argmax), argmin: arg(argmin), argmax_all: ({ x }) => argmax(x), argmin_all: ({ x }) => argmin(x),
  max: ({ x }, { dim }: { dim: number }) => both(max(x, dim)),
  min: ({ x }, { dim }: { dim: number }) => both(min(x, dim)),

  cumsum: ({ x }, { dim }: { dim: number }) => cumsum(x, dim),
  cumprod: ({ x }, { dim }: { dim: number }) => cumprod(x, dim),
  cummax: ({ x }, { dim }: { dim: number }) => both(cummax(x, dim)),
  sort: ({ x }, { dim, descending }: { dim: number; descending: boolean }) => both(sort(x, { axis: dim, descending })),
  topk: ({ x }, { k, dim, largest }: { k: number; dim: number; largest: boolean }) => both(topk(x, k, { axis: dim, largest })),

  nonzero: ({ input }) => nonzero(input),
  masked_select: ({ x, mask }) => maskedSelect(x, mask),
} satisfies Record<string, Row>
