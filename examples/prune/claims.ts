import { mean } from "../figures.ts"
import type { PruneRow } from "./page.ts"
import { named, original, scoreNames, shares } from "./rows.ts"

/** What should hold of the rows, in words, with the numbers that say whether it does. */
export interface Claim { readonly words: string; readonly numbers: readonly number[]; readonly holds: boolean }

/** Claims whose rows were all measured. */
export function claims(rows: readonly PruneRow[]): Claim[] {
  const of = (name: string): number | undefined => {
    const row = rows.find((r) => r.name === name)
    return row === undefined || row.runs.length === 0 ? undefined : mean(row.runs.map((r) => r.divergence))
  }
  const claim = (words: string, names: readonly string[], holds: (...divergences: number[]) => boolean): Claim[] => {
    const found = names.map(of)
    return found.every((d) => d !== undefined) ? [{ words, numbers: found, holds: holds(...found) }] : []
  }
  const rising = (...d: number[]): boolean => d.every((v, i) => i === 0 || d[i - 1]! < v)
  const at = (score: string): string => named("50 %", score)
  return [
    ...claim("At 50 %, SparseGPT loses about as much as Wanda: neither twice as much as the other", [at("SparseGPT"), at("Wanda")], (s, w) => Math.max(s, w) < 2 * Math.min(s, w)),
    ...claim("At 50 %, both lose far less than magnitude: less than half", [at("SparseGPT"), at("Wanda"), at("magnitude")], (s, w, m) => Math.max(s, w) < m / 2),
    ...claim("The same with inputs that stand out: both lose less than half of what magnitude loses", ["SparseGPT", "Wanda", "magnitude"].map((s) => named("50 % planted", s)), (s, w, m) => Math.max(s, w) < m / 2),
    ...claim("Inputs that stand out make no difference to Wanda", [named("50 % planted", "Wanda"), at("Wanda")], (a, b) => Math.abs(a - b) < 0.01 * b),
    ...[0.6, 0.8].flatMap((share) => claim(`At ${100 * share} %, SparseGPT loses less than Wanda, and that less than magnitude`, ["SparseGPT", "Wanda", "magnitude"].map((s) => named(`${100 * share} %`, s)), rising)),
    ...scoreNames.filter((s) => s !== "random").flatMap((score) => claim(`At 50 %, ${score} loses less than chance`, [at(score), at("random")], rising)),
    ...["magnitude", "Wanda", "SparseGPT"].flatMap((score) => claim(`${score}: 50 % loses less than 4:8, and that less than 2:4`, [at(score), named("4:8", score), named("2:4", score)], rising)),
    ...scoreNames.flatMap((score) => claim(`${score}: what goes more, loses more`, [original, ...shares.map((s) => named(`${Math.round(100 * s)} %`, score))], rising)),
    ...tuned(rows, at("magnitude")),
    ...claim("Distillation brings back more than half of what magnitude lost at 50 %", ["distilled", at("magnitude")], (t, m) => t < m / 2),
    ...claim("Distillation brings back more than fine-tuning in the same time", ["distilled", "fine-tuned"], rising),
  ]
}

/** Fine-tuning lowers cross entropy, and leads away from the original: it is held to that. */
function tuned(rows: readonly PruneRow[], before: string): Claim[] {
  const numbers = ["fine-tuned", before, original].map((name) => rows.find((r) => r.name === name)?.runs ?? []).map((runs) => mean(runs.map((r) => Math.log(r.perplexity))))
  if (numbers.some(Number.isNaN)) return []
  const [after, pruned, whole] = numbers as [number, number, number]
  return [{ words: "Fine-tuning brings back more than half of the cross entropy (not divergence) that magnitude lost at 50 %", numbers, holds: pruned - after > (pruned - whole) / 2 }]
}
