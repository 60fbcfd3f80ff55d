import type { Score } from "./material.ts"
import { checksTable, type Check } from "./record.ts"

export interface Recovered {
  readonly name: string
  readonly kind: "few bits" | "pruned"
  readonly rate: number
  /** Divergences on other text than what is scored, by which the rate was chosen. */
  readonly attempts: readonly { readonly rate: number; readonly divergence: number }[]
  readonly steps: number
  readonly bytes: number
  readonly before: Score
  readonly after: Score
}
export interface Recoveries {
  readonly seconds: number
  readonly batch: number
  readonly length: number
  readonly tokens: number
  readonly tried: readonly number[]
  readonly share: number
  readonly rows: readonly Recovered[]
}

/** Share of the divergence that should come back, in processor time that five minutes on two cores have. */
const [wanted, budget] = [0.5, 600]
const recoveredOf = ({ before, after }: Recovered): number => 1 - after.divergence / before.divergence

export function recoverChecks({ seconds, rows }: Recoveries): Check[] {
  return (["few bits", "pruned"] as const).flatMap((kind) => {
    const best = rows.filter((r) => r.kind === kind).toSorted((a, b) => a.after.divergence - b.after.divergence)[0]
    return best === undefined ? [] : [{ claim: `≥ ${100 * wanted} % of the KL divergence comes back within five minutes on two cores (${budget} s of processor time), ${kind}`, holds: recoveredOf(best) >= wanted && seconds <= budget, found: `${(100 * recoveredOf(best)).toFixed(1)} % in ${seconds} s (${best.name})` }]
  })
}

export function recoverPage(results: Recoveries): string {
  const { seconds, batch, length, tokens, tried, share, rows } = results
  return `### Recovering what compression took

The demo model (its embedding apart) in two bits a weight or with half of its weights pruned, distilled from what it was by forward KL for ${seconds} seconds of processor time of one thread, on windows of the text that it was trained on;
stored and scored on ${tokens.toLocaleString("en")} held-out tokens, as above. Of ${tried.length} learning rates, ${tried.map((t) => t.toPrecision(2)).join(", ")} times the usual, each tried for ${(seconds * share).toFixed(0)} seconds, the one is taken that is best on held-out documents which are not scored. The command:

\`\`\`sh
npx -y pnpm@12.21.0 distill:recover --seconds ${seconds} --batch ${batch} --length ${length} --tokens ${tokens}
\`\`\`

| | KL before | after | comes back | perplexity before | after | rate | steps | MB |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
${rows.map((r) => `| ${r.name} | ${r.before.divergence.toFixed(3)} | ${r.after.divergence.toFixed(3)} ± ${r.after.error.toFixed(3)} | ${(100 * recoveredOf(r)).toFixed(1)} % | ${r.before.perplexity.toFixed(2)} | ${r.after.perplexity.toFixed(2)} | ${r.rate.toPrecision(2)} | ${r.steps.toLocaleString("en")} | ${(r.bytes / 1e6).toFixed(2)} |`).join("\n")}

${checksTable(recoverChecks(results))}`
}
