import { fail } from "@thimble/core"
import type { Json } from "@thimble/models"
import { int } from "../format/int.ts"
import { outlierParts } from "../format/outliers.ts"
import type { Method } from "../recipe/method.ts"
import { largest } from "../recipe/statistic.ts"
import { cost } from "./target.ts"

export interface LlmInt8Options {
  /** Columns whose inputs reach this magnitude are outliers; 6 unless given. */
  readonly threshold?: number
}

/**
 * LLM.int8() (Dettmers et al., arXiv 2208.07339): int8 weights by row and int8 activations by token, but for the columns that inputs reach
 * far in, which stay in f16. Calibration finds them, once for all; a plan does not know how many there will be.
 */
export function llmInt8({ threshold = 6 }: LlmInt8Options = {}): Method {
  if (!(threshold > 0)) fail("value", "llmInt8", `threshold must be a magnitude, got ${threshold}`)
  const format = int(8)
  return {
    name: "LLM.int8()",
    toJSON: (): Json => ({ method: "llm.int8", threshold }),
    observes: [largest],
    target: (shape) => cost(format, shape),
    async round({ values, shape }, statistics) {
      const seen = (await statistics!.of(largest).data()) as Float32Array, far = Array.from(seen.keys()).filter((c) => seen[c]! >= threshold)
      return { stored: { format, parts: far.length === 0 ? format.encode(values, shape) : outlierParts(values, shape, far, format), activations: "int8PerToken" } }
    },
  }
}
