import { deviation, mean, small, whole } from "../figures.ts"
import { claims } from "./claims.ts"
import { digitsSection, type DigitResults } from "./digits-page.ts"
import type { Measured } from "./measured.ts"
import { original, rows as known } from "./rows.ts"
import type { Speed } from "./speeds.ts"

/** A row of the table: one measurement per seed. */
export interface PruneRow {
  readonly group: string
  readonly name: string
  readonly runs: readonly Measured[]
  readonly speed?: Speed
}
/** What the page is made of. */
export interface PruneTable {
  readonly tokens: number
  readonly seconds: number
  readonly rows: readonly PruneRow[]
  readonly digits?: DigitResults
}

function line({ group, name, runs, speed }: PruneRow, bytes: number, seeds: number): string {
  const few = known.find((r) => r.group === group && r.name === name)?.seeded === true && runs.length < seeds ? ` (${runs.length} of ${seeds} seeds)` : ""
  const of = (key: "bytes" | "perplexity" | "divergence" | "error" | "agreement"): number => mean(runs.map((r) => r[key])), stores = [...new Set(runs.map((r) => r.store))].join(" / ")
  const fast = speed === undefined ? ["", ""] : [whole(speed.tokensPerSecond), name === original ? "" : `${(speed.tokensPerSecond / speed.original).toFixed(2)} ×${speed.tokensPerSecond <= speed.original ? ", not faster" : ""}`]
  return `| ${name}${few} | ${of("perplexity").toFixed(2)} | ${small(of("divergence"))} | ${small(of("error"))} | ${runs.length > 1 ? small(deviation(runs.map((r) => r.divergence))) : ""} | ${(100 * of("agreement")).toFixed(1)} % | ${stores} | ${whole(of("bytes"))}${name !== original && of("bytes") >= bytes ? ", no saving" : ""} | ${fast.join(" | ")} |`
}

/** The page that the table makes. */
export function page({ rows, tokens, seconds, digits }: PruneTable): string {
  const first = rows.find((r) => r.name === original), bytes = first?.runs[0]?.bytes ?? Infinity, found = claims(rows), held = found.filter((c) => c.holds).length, seeds = Math.max(0, ...rows.map((r) => r.runs.length))
  const head = "| | perplexity | KL divergence | ± tokens | ± seeds | same top | smallest store | bytes | tokens/s | against the original |\n|---|---:|---:|---:|---:|---:|---|---:|---:|---:|"
  const sections = [...new Set(rows.map((r) => r.group))].map((g) => `\n## ${g[0]!.toUpperCase()}${g.slice(1)}\n\n${head}\n${rows.filter((r) => r.group === g && r.runs.length > 0).map((r) => line(r, bytes, seeds)).join("\n")}\n`)
  return `---
title: What pruning costs
---

# What pruning costs

Every score and pattern on the demo model (\`models/demo\`, 2.9 million parameters in bf16). The commands that made this page:

\`\`\`sh
npx -y pnpm@12.21.0 prune:table
npx -y pnpm@12.21.0 prune:table --speeds
node examples/mnist-prune.ts --data DIR
\`\`\`

Matrices of blocks are pruned, three quarters of all weights; the embedding, norms and what stays keep their values, in bf16. *Bytes* are the whole model's, its
matrices in the store that takes the least (with a store of its own where a row names one); *no saving* where that is not less than the original. Perplexity
and KL divergence from the original are per token, on the first ${whole(tokens)} tokens of held-out chapters of Moby Dick, in windows of 256.
Rows that depend on chance are means over ${seeds} seeds: of 32 calibration sequences of 256 tokens out of the training text, of random scores, of the
order in which training sees text. *± tokens* is the standard error over tokens, *± seeds* the standard deviation over seeds.
*Tokens/s* are those of decoding with that store on one thread of the CPU, the fastest of several texts in turns with the original, of the first seed. Matrices of at most 512 × 256 stay in
the processor's cache, so fewer bytes are not fewer milliseconds: the work decides, which for a bitmask is the same for every eight columns, however
many of them are zero, and for csr goes with the elements that stay. Where matrices come from memory it is otherwise: of 4096 × 4096, csr is
2.0 … 2.2 times as fast as all of f32 at 80 % zeros, 3.5 … 4.5 times at 90 %, 2:4 1.2 … 1.3 times, and with int8 values 1.4 … 1.5 times (\`bench/kernels/sparse.ts\`, one and two threads).
Wanda ranks the weights of each row by themselves and SparseGPT those of blocks of 128 columns, as they were published; the others rank a whole matrix.
Movement is no score of a model that does not train, so it has no row here. Training takes ${seconds} s of processor time with one thread (4 windows of 128 tokens a step);
the embedding and norms train, too, and stay in f32 afterwards, which their bytes show.
A small model is hurt more than a large one; and its inputs are so much alike that Wanda, which weighs them, is hardly better than magnitude. Where the sixteenth of the inputs that their norms make largest is made 32 times as large, and the columns that read them as much smaller, the function is
the same and magnitude no longer a good score.
${sections.join("")}
## What should hold, and does it

${held} of ${found.length}, by KL divergence.

| | | |
|---|---|---|
${found.map(({ words, numbers, holds }) => `| ${words} | ${numbers.map(small).join(" / ")} | ${holds ? "yes" : "**no**"} |`).join("\n")}
${digits === undefined ? "" : digitsSection(digits)}`
}
