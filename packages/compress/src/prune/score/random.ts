import { fail } from "@thimble/core"
import type { Score } from "../score.ts"

/** Numbers that a seed and the name of a matrix choose: what every other score has to be better than. */
export function randomScore(seed = 0): Score {
  if (!Number.isSafeInteger(seed)) fail("value", "randomScore", `the seed must be a whole number, got ${seed}`)
  return {
    name: "random", toJSON: () => ({ score: "random", seed }),
    of({ path, values }) {
      let state = seed | 0
      for (let i = 0; i < path.length; i++) state = mixed(state ^ path.charCodeAt(i))
      return Float64Array.from(values, () => (mixed((state = (state + 0x9e3779b9) | 0)) >>> 0) / 2 ** 32)
    },
  }
}
/** The finalizer of MurmurHash3, 32 bits (Appleby, public domain). */
function mixed(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return x ^ (x >>> 16)
}
