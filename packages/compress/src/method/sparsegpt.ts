import { fail, mul } from "@thimble/core"
import type { Json } from "@thimble/models"
import type { GptqOptions } from "../quantize/gptq.ts"
import { storedSolution } from "../quantize/solved.ts"
import { cutGroups, solveSparsegptOnDevice, type SparsegptOptions } from "../prune/sparsegpt.ts"
import { checkSparsity } from "../prune/sparsity.ts"
import { stored, storeName, storeTarget, type Store } from "../prune/store.ts"
import type { QuantizedFormat } from "../quantizer.ts"
import type { Method } from "../recipe/method.ts"
import { gram } from "../recipe/statistic.ts"
import { cost } from "./target.ts"

export interface SparsegptMethodOptions extends Pick<SparsegptOptions, "sparsity" | "order" | "damping" | "block"> {
  /** What the matrix is stored in; f32, with its zeros, unless given. */
  readonly store?: Store
  /** A format that the weights that stay are rounded to in the same pass, and that all are stored in: instead of `store`. */
  readonly round?: QuantizedFormat
}

/** SparseGPT (Frantar and Alistarh, arXiv 2301.00774): weights go one column after the other, and those that follow make up for them. */
export function sparsegpt({ store = "f32", round, ...options }: SparsegptMethodOptions): Method {
  const { sparsity, block = 128 } = options
  checkSparsity("sparsegpt", sparsity)
  if (round !== undefined && round.grids === undefined) fail("value", "sparsegpt", `${round.name} does not say how one value of a group is rounded`)
  if (round !== undefined && store !== "f32") fail("value", "sparsegpt", "weights that are rounded are stored in the format that they are rounded to", "leave store or round out")
  // A share of each block of columns, and one more.
  const keeps = ([rows, columns]: readonly [number, number]): number => {
    if (typeof sparsity !== "number") return rows * (Math.floor(columns / sparsity.of) * sparsity.keep + Math.min(columns % sparsity.of, sparsity.keep))
    let n = 0
    for (let c = 0; c < columns; c += block) n += rows * Math.min(block, columns - c) - (sparsity === 0 ? 0 : Math.floor(rows * Math.min(block, columns - c) * sparsity) + 1)
    return n
  }
  return {
    name: `sparsegpt ${typeof sparsity === "number" ? sparsity : `${sparsity.keep}:${sparsity.of}`}`,
    toJSON: (): Json => ({ method: "sparsegpt", ...options, ...(round ? { round: round.name } : { store: storeName(store) }) }),
    observes: [gram],
    target(shape) {
      if (round === undefined) return storeTarget(store, { keeps }, shape)
      const unfit = cutGroups({ format: round }, shape[1], block)
      return unfit === undefined ? cost(round, shape, options.order === "activity") : { unfit }
    },
    async round({ path, values, shape }, statistics) {
      const h = mul(statistics!.of(gram), 2 / statistics!.tokens)
      try {
        const solved = await solveSparsegptOnDevice(values, shape, h, { ...options, ...(round && { round: { format: round } as GptqOptions }) }), found = Float32Array.from(solved.values)
        return {
          stored: round === undefined ? stored(store, found, shape) : storedSolution(round, shape, { ...solved.rounded!, order: solved.order }),
          zeros: found.reduce((n, w) => n + Number(w === 0), 0) / Math.max(1, found.length), fallbacks: solved.fallbacks,
        }
      } catch (e) {
        throw e instanceof Error ? Object.assign(e, { message: `${path}: ${e.message}` }) : e
      } finally {
        h.dispose()
      }
    },
  }
}
