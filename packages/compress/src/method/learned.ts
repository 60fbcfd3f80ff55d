import { fail } from "@thimble/core"
import type { Json } from "@thimble/models"
import type { QuantizedFormat } from "../quantizer.ts"
import { learnRounding, type LearningOptions } from "../quantize/learn-rounding.ts"
import { storedSolution } from "../quantize/solved.ts"
import type { Method } from "../recipe/method.ts"
import { gram } from "../recipe/statistic.ts"
import { cost } from "./target.ts"

export interface LearnedMethodOptions extends Pick<LearningOptions, "steps" | "rate" | "learn"> {
  readonly format: QuantizedFormat
}

/** Learned rounding (AutoRound: Cheng et al., arXiv 2309.05516): which way to round, and how far codes reach, by signs of gradients. */
export function learned({ format, ...options }: LearnedMethodOptions): Method {
  if (format.grids === undefined) fail("value", "learned", `${format.name} does not say how one value of a group is rounded`, "int, fp, nf4, fp4 and mx do, in groups of a row")
  return {
    name: "learned rounding",
    toJSON: (): Json => ({ method: "learned", format: format.name, ...options }),
    observes: [gram],
    target: (shape) => cost(format, shape),
    async round({ values, shape }, statistics, { signal }) {
      const h = Float64Array.from((await statistics!.of(gram).data()) as Float32Array, (v) => (2 * v) / statistics!.tokens)
      return { stored: storedSolution(format, shape, await learnRounding(values, shape, h, { ...options, format, ...(signal && { signal }) })) }
    },
  }
}
