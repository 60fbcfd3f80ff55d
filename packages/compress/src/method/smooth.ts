import type { Json, Stores } from "@thimble/models"
import { columnAbsmax, smoothScales, type SmoothOptions } from "../quantize/smooth.ts"
import { wrapped, type Balance, type Method } from "../recipe/method.ts"
import { largest } from "../recipe/statistic.ts"

/**
 * SmoothQuant (Xiao et al., arXiv 2211.10438): part of the range of the activations is moved into the weights, which are
 * then rounded by another method.
 */
export function smooth<K extends string = string>({ method, alpha = 0.5 }: SmoothOptions & { readonly method: Method & Stores<K> }): Method & Stores<K> {
  return { ...method, ...wrapped(method, (own) => smooth({ method: own, alpha })), name: `smooth, ${method.name}`, balance: activationRange(alpha), toJSON: (): Json => ({ method: "smooth", alpha, then: method.toJSON() }) }
}

function activationRange(alpha: number): Balance {
  return {
    name: "activation range",
    toJSON: () => ({ balance: "activation range", alpha }),
    observes: [largest],
    async scales(matrices, statistics) {
      const columns = matrices[0]!.shape[1], seen = (await statistics.of(largest).data()) as Float32Array
      return smoothScales(seen, columnAbsmax(columns, ...matrices.map((m) => m.values)), { alpha })
    },
  }
}
