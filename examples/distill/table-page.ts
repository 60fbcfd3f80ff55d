import { orderings } from "./students.ts"

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
export interface TableOf { readonly seconds: number; readonly tokens: number; readonly teacher: { readonly size: number; readonly perplexity: number }; readonly unigram: number; readonly rows: readonly MeasuredStudent[] }

const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length
const error = (x: readonly number[]): number => Math.sqrt(x.reduce((n, v) => n + (v - mean(x)) ** 2, 0) / (x.length - 1) / x.length)
const both = (x: readonly number[], digits: number): string => `${mean(x).toFixed(digits)}${x.length > 1 ? ` ± ${error(x).toFixed(digits)}` : ""}`

/** The page that the rows make. */
export function tablePage({ seconds, tokens, teacher, unigram, rows }: TableOf): string {
  const found = orderings.flatMap(([better, worse]) => {
    const [a, b] = [better, worse].map((name) => rows.find((r) => r.name === name))
    return a && b ? [{ better, worse, a: mean(a.divergences), b: mean(b.divergences) }] : []
  })
  const seeds = Math.max(...rows.map((r) => r.divergences.length), 0)
  return `---
title: What distillation gives
---

# What distillation gives

Students of the demo model (\`models/demo\`, ${(teacher.size / 1e6).toFixed(2)} million parameters, perplexity ${teacher.perplexity.toFixed(2)}), each trained for ${seconds} seconds of wall time, whatever a step costs it and
what the teacher writes beforehand included. The command that made this page:

\`\`\`sh
npx -y pnpm@12.21.0 run distill:table --seconds ${seconds} --seeds ${seeds} --tokens ${tokens}
\`\`\`

Perplexity, and the KL divergence from the teacher in nats per token, on the first ${tokens.toLocaleString("en")} tokens of held-out chapters of Moby Dick, in windows of 256; means over seeds of weights
and data, ± their standard errors. *Kept* is the share of what the teacher gains over the frequencies of tokens alone (perplexity ${unigram.toFixed(1)}), in nats.

| | parameters | perplexity | KL divergence | kept | steps |
|---|---:|---:|---:|---:|---:|
${rows.map((r) => `| ${r.name} | ${(r.size / 1e6).toFixed(2)} M | ${both(r.perplexities, 2)} | ${both(r.divergences, 3)} | ${(100 * mean(r.kept)).toFixed(1)} % | ${Math.round(mean(r.steps)).toLocaleString("en")} |`).join("\n")}

## What should hold, and does it

${found.filter(({ a, b }) => a < b).length} of ${found.length}: the first diverges less than the second.

| | | | |
|---|---|---|---|
${found.map(({ better, worse, a, b }) => `| ${better} | ${worse} | ${a.toFixed(3)} / ${b.toFixed(3)} | ${a < b ? "yes" : "**no**"} |`).join("\n")}
`
}
