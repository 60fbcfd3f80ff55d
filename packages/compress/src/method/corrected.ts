import { biasCorrection } from "../quantize/bias.ts"
import type { Stores } from "@thimble/models"
import { matrixOf, weightOf, wrapped, type Method } from "../recipe/method.ts"
import { sums } from "../recipe/statistic.ts"

/**
 * What another method does, and then biases that give each output the mean that it had before (Nagel et al., arXiv 1906.04721,
 * section 4.2). A module without a bias keeps its mean error, and the report says so.
 */
export function biasCorrected<K extends string = string>(method: Method & Stores<K>): Method & Stores<K> {
  return {
    ...method,
    name: `${method.name}, bias`,
    toJSON: () => ({ method: "bias corrected", then: method.toJSON() }),
    ...wrapped(method, biasCorrected),
    observes: [...(method.observes ?? []).filter((s) => s.name !== sums.name), sums],
    async round(matrix, statistics, options) {
      const rounded = await method.round(matrix, statistics, options)
      if (rounded === undefined) return undefined
      const weight = weightOf(rounded.stored, matrix.shape)
      try {
        const { values } = await matrixOf(matrix.path, weight), means = Float64Array.from((await statistics!.of(sums).data()) as Float32Array, (v) => v / statistics!.tokens)
        return { ...rounded, bias: Float32Array.from(biasCorrection(matrix.values, values, matrix.shape, means)) }
      } finally {
        for (const t of Object.values(weight.parts())) t.dispose()
      }
    },
  }
}
