import { small, whole } from "../figures.ts"
import type { Measured } from "./measured.ts"
import { checked } from "./orderings.ts"

/** The page that the rows make. */
export function page(rows: readonly Measured[], seeds: number, tokens: number): string {
  const groups = [...new Set(rows.map((r) => r.group))], found = checked(rows), held = found.filter((c) => c.holds).length
  const table = (group: string): string => [
    "| | bits | bytes | perplexity | KL divergence | ± tokens | ± seeds | same top | seconds |", "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ...rows.filter((r) => r.group === group).map((r) => `| ${r.name} | ${r.bits.toFixed(3)} | ${whole(r.bytes)} | ${r.perplexity.toFixed(2)} | ${small(r.divergence)} | ${small(r.error)} | ${r.spread === undefined ? "" : small(r.spread)} | ${(100 * r.agreement).toFixed(1)} % | ${r.seconds.toFixed(1)} |`),
  ].join("\n")
  return `---
title: What quantization costs
---

# What quantization costs

Every format and method on the demo model (\`models/demo\`, 2.9 million parameters in bf16). The command that made this page:

\`\`\`sh
npx -y pnpm@12.21.0 table
\`\`\`

Matrices of blocks are quantized; the embedding stays as it is but where a row says otherwise. *Bits* are stored bits by weight of those
matrices, scales included; *bytes* are the whole model's. Perplexity and KL divergence from the original are per token, on the first ${whole(tokens)} tokens of
held-out chapters of Moby Dick, in windows of 256. Rows that depend on data are means over ${seeds} seeds: of 32 calibration sequences of
256 tokens out of the training text, of rotations, of training (from what GPTQ solved for, in groups of neighbours: 600 steps of 512
tokens of the training text towards the original's logits; weights, norms, steps of codes and the embedding learn, and the embedding is f32
then). *± tokens* is the standard error over tokens, *± seeds* the standard deviation over seeds.
A small model is hurt more than a large one.
${groups.map((g) => `\n## ${g[0]!.toUpperCase()}${g.slice(1)}\n\n${table(g)}\n`).join("")}
## What should hold, and does it

${held} of ${found.length}: the first diverges less than the second.

| | | | |
|---|---|---|---|
${found.map(({ better, worse, a, b, holds }) => `| ${better} | ${worse} | ${small(a)} / ${small(b)} | ${holds ? "yes" : "**no**"} |`).join("\n")}
`
}
