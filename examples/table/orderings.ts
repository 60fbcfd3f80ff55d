import { named } from "./rows.ts"
import type { Measured } from "./measured.ts"

/** What should hold of the rows, as what has to diverge less than what. */
export const orderings: readonly (readonly [better: string, worse: string])[] = [
  ["Q8_0", "Q6_K"], ["Q6_K", "Q5_K"], ["Q5_K", "Q4_K"], ["Q4_K", "Q3_K"], ["Q3_K", "Q2_K"], ["Q4_K", "Q4_0"], ["int4g32", "int4g128"], ["nf4", "fp4"], ["Q4_K_M", "Q4_K_S"], ["Q4_K_S", "Q3_K_M"],
  [named(3, "GPTQ"), named(3, "nearest")], [named(3, "AWQ"), named(3, "nearest")], [named(3, "HQQ"), named(3, "nearest")], [named(3, "learned rounding"), named(3, "nearest, ends searched")], [named(3, "AdaRound"), named(3, "nearest, ends searched")],
  [named(2, "rotated, GPTQ"), named(2, "GPTQ")], [named(2, "rotated, GPTQ"), named(2, "AWQ")], [named(2, "rotated, GPTQ"), named(2, "GPTQ, by activity, ends searched")],
  ...([2, 3] as const).flatMap((bits) => ["nearest", "HQQ", "AWQ", "GPTQ", "GPTQ, by activity, ends searched", "learned rounding", "AdaRound", "rotated, GPTQ"].map((m) => [named(bits, "trained"), named(bits, m)] as const)),
  ["allocated by divergence", "uniform int4g64"], ["allocated by fisher", "uniform int4g64"],
  ["scale per token, SmoothQuant", "scale per token"], ["scale per tensor, SmoothQuant", "scale per tensor"],
]

export interface Checked { readonly better: string; readonly worse: string; readonly a: number; readonly b: number; readonly holds: boolean }
/** Which orderings held, of those whose rows were measured. */
export function checked(rows: readonly Measured[]): Checked[] {
  const of = (name: string): Measured | undefined => rows.find((r) => r.name === name)
  return orderings.flatMap(([better, worse]) => {
    const a = of(better), b = of(worse)
    return a && b ? [{ better, worse, a: a.divergence, b: b.divergence, holds: a.divergence < b.divergence }] : []
  })
}
