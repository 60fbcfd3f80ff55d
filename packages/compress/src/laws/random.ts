// A12: rounding that chance decides.
import { show } from "./bounds.ts"
import { breach, roundTrip, type HostLaw } from "./law.ts"

/** Seeds that are tried, and how far the mean may be off, in bounds: Hoeffding's inequality with 2·exp(−2·512·0.16²) = 8·10⁻¹² per element. */
const draws = 512, margin = 0.16
export const unbiased: HostLaw = {
  name: "unbiased", letter: "A12", share: 8,
  kinds: ["gaussian", "heavy", "integers", "positive", "negative", "bothEnds", "halfSteps"],
  statement: "Over many seeds the mean of x̂ is x, but for chance and for what lies beyond the last codes, and its variance at most a quarter of a squared step.",
  broken(q, { values, shape: [, columns] }) {
    if (q.again === undefined) return { problem: "it does not say how other seeds are taken" }
    if (values.length === 0) return undefined
    const unit = q.unit ?? 1, n = Math.min(columns, Math.max(unit, Math.floor(12 / unit) * unit)), own = values.slice(0, n), shape = [1, n] as const
    const sum = new Float64Array(n), squares = new Float64Array(n), bound = new Float64Array(n), beyond = new Set<number>()
    for (let seed = 0; seed < draws; seed++) {
      const other = q.again(seed), there = roundTrip(other, own, shape)
      if (there === undefined) return undefined
      if (seed === 0) {
        other.errorBound(there.encoded, shape, own).forEach((b, i) => (bound[i] = b))
        own.forEach((v, i) => {
          const levels = other.levels?.(there.encoded, shape, 0, i) ?? []
          if (levels.length > 0 && (v < Math.min(...levels) || v > Math.max(...levels))) beyond.add(i)
        })
      }
      there.back.forEach((v, i) => {
        sum[i]! += (v - own[i]!) / draws
        squares[i]! += (v - own[i]!) ** 2 / draws
      })
    }
    for (let i = 0; i < n; i++) {
      if (beyond.has(i)) continue
      if (Math.abs(sum[i]!) > margin * bound[i]!) return breach(i, shape, `the mean of ${draws} is off by ${show(sum[i]!)}, with steps of up to ${show(bound[i]!)}`)
      const variance = squares[i]! - sum[i]! ** 2
      if (variance > (bound[i]! ** 2 / 4) * 1.01) return breach(i, shape, `the variance is ${show(variance)}, with steps of up to ${show(bound[i]!)}`)
    }
    return undefined
  },
}
