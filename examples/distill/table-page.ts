import { mean, meanText } from "../figures.ts"
import { checksTable, type Check } from "./record.ts"
import { orderings, students } from "./students.ts"

/** A student as it was measured: one value for each seed. */
export interface MeasuredStudent {
  readonly group: string
  readonly name: string
  readonly size: number
  readonly perplexities: readonly number[]
  readonly divergences: readonly number[]
  readonly steps: readonly number[]
  /** Share that was kept of the teacher's gain over a model that knows frequencies of tokens alone. */
  readonly kept: readonly number[]
}
export interface TableOf {
  readonly seconds: number
  readonly tokens: number
  readonly batch: number
  readonly length: number
  readonly teacher: { readonly size: number; readonly perplexity: number }
  /** Perplexity of the frequencies of tokens. */
  readonly unigram: number
  readonly rows: readonly MeasuredStudent[]
}

/** Least share of the teacher's gain that a student of half its parameters should keep. */
const wanted = 0.95

/** What should hold of the rows. */
export function tableChecks({ teacher, rows }: TableOf): Check[] {
  const found = orderings.flatMap(([claim, better, worse]): Check[] => {
    const [a, b] = [better, worse].map((name) => rows.find((r) => r.name === name))
    if (a === undefined || b === undefined) return []
    const [kl, perplexity] = [[mean(a.divergences), mean(b.divergences)], [mean(a.perplexities), mean(b.perplexities)]] as const
    return [{ claim, holds: kl[0]! < kl[1]! && perplexity[0]! < perplexity[1]!, found: `KL ${kl[0]!.toFixed(3)} < ${kl[1]!.toFixed(3)}, perplexity ${perplexity[0]!.toFixed(2)} < ${perplexity[1]!.toFixed(2)}` }]
  })
  const half = rows.filter((r) => r.size <= teacher.size / 2), best = half.toSorted((a, b) => mean(b.kept) - mean(a.kept))[0]
  return best === undefined ? found : [...found, { claim: `the best student of at most half the parameters keeps ≥ ${100 * wanted} % of the teacher's gain over frequencies`, holds: mean(best.kept) >= wanted, found: `${meanText(best.kept.map((k) => 100 * k), 1)} % (${best.name})` }]
}

/** The section of the page that the rows make. */
export function tablePage(table: TableOf): string {
  const { seconds, tokens, batch, length, teacher, unigram, rows } = table, seeds = Math.max(...rows.map((r) => r.divergences.length), 0)
  const timesOf = (name: string): number => students.find((s) => s.name === name)?.times ?? 1
  return `### Students of a language model

Students of the demo model (\`models/demo\`, ${(teacher.size / 1e6).toFixed(2)} million parameters, perplexity ${teacher.perplexity.toFixed(2)}), each trained for ${seconds} seconds of processor time of one thread, unless
it says otherwise, whatever a step costs it; what the teacher writes beforehand, and compiling, are included. The command:

\`\`\`sh
npx -y pnpm@12.21.0 distill:table --seconds ${seconds} --seeds ${seeds} --tokens ${tokens} --batch ${batch} --length ${length}
\`\`\`

Perplexity, and the KL divergence from the teacher in nats per token, on ${tokens.toLocaleString("en")} tokens of held-out chapters of Moby Dick and held-out addresses of presidents, as many of each,
in windows of 256; means over ${seeds} seeds of weights and data, ± their standard errors, where a row does not say that it is of fewer. *Kept* is the share of what the teacher gains over the frequencies of tokens alone (perplexity ${unigram.toFixed(1)}), in nats.
Learning rates rise to 0.003 from random weights and to 0.001 from the teacher's, which, as the blocks that stay, was chosen on held-out documents that are not scored.

| | parameters | perplexity | KL divergence | kept | steps |
|---|---:|---:|---:|---:|---:|
${rows.map((r) => `| ${r.name}${timesOf(r.name) > 1 ? ` (${timesOf(r.name) * seconds} s)` : ""}${r.divergences.length < seeds ? ` (${r.divergences.length} of ${seeds} seeds)` : ""} | ${(r.size / 1e6).toFixed(2)} M | ${meanText(r.perplexities, 2)} | ${meanText(r.divergences, 3)} | ${(100 * mean(r.kept)).toFixed(1)} % | ${Math.round(mean(r.steps)).toLocaleString("en")} |`).join("\n")}

${checksTable(tableChecks(table))}`
}
