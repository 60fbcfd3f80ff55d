// G7: what a search for parameters may not cost.
import { show } from "./bounds.ts"
import { roundTrip, type HostLaw } from "./law.ts"
import { numbers } from "./values.ts"

export const noWorse: HostLaw = {
  name: "noWorse", letter: "G7",
  statement: "Σ importance · (x − x̂)² is at most what it is without a search, whether columns are equally important or not.",
  broken(q, { values, shape: [, columns], shape, pick }) {
    if (q.plain === undefined) return { problem: "it does not say what it is without a search" }
    const next = numbers(pick), importance = Float32Array.from({ length: columns }, () => (pick % 3 === 0 ? 1 : next() ** 4))
    const error = (back: Float32Array): number => back.reduce((sum, v, i) => sum + (values[i]! - v) ** 2 * importance[i % columns]!, 0)
    const found = roundTrip(q, values, shape, { importance }), plain = roundTrip(q.plain, values, shape, { importance })
    if (found === undefined || plain === undefined) return undefined
    const [a, b] = [error(found.back), error(plain.back)]
    return a <= b * (1 + 2 ** -40) ? undefined : { problem: `the error is ${show(a)}, and ${show(b)} without a search` }
  },
}
