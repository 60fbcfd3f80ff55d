import { fail, mul } from "@thimble/core"
import type { Json, Stores } from "@thimble/models"
import type { QuantizedFormat } from "../quantizer.ts"
import { solveGptqOnDevice, type SolverOptions } from "../quantize/gptq.ts"
import { storedSolution } from "../quantize/solved.ts"
import type { Method } from "../recipe/method.ts"
import { gram } from "../recipe/statistic.ts"
import { cost } from "./target.ts"

export interface GptqMethodOptions<K extends string = string> extends SolverOptions {
  readonly format: QuantizedFormat & Stores<K>
}

/**
 * GPTQ (Frantar et al., arXiv 2210.17323): columns are rounded one after the other, and what is lost in the outputs is made up
 * for by those that follow.
 */
export function gptq<K extends string = string>({ format, ...options }: GptqMethodOptions<K>): Method & Stores<K> {
  if (format.grids === undefined) fail("value", "gptq", `${format.name} does not say how one value of a group is rounded`, "int, fp, nf4, fp4 and mx do, in groups of a row")
  return {
    name: "gptq",
    toJSON: (): Json => ({ method: "gptq", format: format.name, ...options }),
    observes: [gram],
    target: (shape) => cost(format, shape, options.order === "activity" && options.grids !== "static"),
    async round({ path, values, shape }, statistics) {
      // H = 2·XᵀX by token: a factor that nothing but the damping's unit depends on.
      const h = mul(statistics!.of(gram), 2 / statistics!.tokens)
      try {
        const solved = await solveGptqOnDevice(values, shape, h, { ...options, format })
        return { stored: storedSolution(format, shape, solved), fallbacks: solved.fallbacks }
      } catch (e) {
        throw e instanceof Error ? Object.assign(e, { message: `${path}: ${e.message}` }) : e
      } finally {
        h.dispose()
      }
    },
  }
}
