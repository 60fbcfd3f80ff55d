import { fail } from "@thimble/core"
import type { Json } from "@thimble/models"
import type { MatrixShape, QuantizedFormat } from "../quantizer.ts"
import type { LearnedRounding } from "../quantize/reconstruct.ts"
import { storedSolution } from "../quantize/solved.ts"
import type { Method, RoundOptions } from "../recipe/method.ts"
import { gram } from "../recipe/statistic.ts"
import { cost } from "./target.ts"

/** What a method is called, in reports and in JSON, with its options. */
interface Named { readonly name: string; readonly json: string; readonly format: QuantizedFormat; readonly options: Json }

/** A method that searches for codes of a matrix by what its outputs lose. */
export function reconstructed({ name, json, format, options }: Named, search: (values: Float32Array, shape: MatrixShape, hessian: Float64Array, more: Pick<RoundOptions, "signal">) => Promise<LearnedRounding>): Method {
  if (format.grids?.step === undefined) fail("value", json, `${format.name} has no evenly spaced codes in groups of a row`, "int does")
  return {
    name,
    toJSON: (): Json => ({ method: json, format: format.name, ...options }),
    observes: [gram],
    target: (shape) => cost(format, shape),
    async round({ path, values, shape }, statistics, { signal }) {
      const h = Float64Array.from((await statistics!.of(gram).data()) as Float32Array, (v) => (2 * v) / statistics!.tokens)
      try {
        return { stored: storedSolution(format, shape, await search(values, shape, h, { ...(signal && { signal }) })) }
      } catch (e) {
        throw e instanceof Error && e.name !== "AbortError" ? Object.assign(e, { message: `${path}: ${e.message}` }) : e
      }
    },
  }
}
