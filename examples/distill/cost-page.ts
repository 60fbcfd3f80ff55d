import { checksTable, type Check } from "./record.ts"

/** Seconds of processor time of a step, and megabytes by which the process grows. */
export interface Costs {
  readonly top: number
  readonly classes: number
  readonly batch: number
  readonly length: number
  readonly bytesPerToken: number
  readonly stepSeconds: { readonly labels: number; readonly answers: number }
  readonly memory: { readonly vocabulary: number; readonly batch: number; readonly length: number; readonly labels: number; readonly labelsChunked: number; readonly distilled: number; readonly distilledWhole: number }
}

const [bytes, time, memory] = [300, 1.15, 1.2]
export function costChecks({ top, bytesPerToken, stepSeconds, memory: m }: Costs): Check[] {
  const ratio = stepSeconds.answers / stepSeconds.labels, more = m.distilled / m.labels, chunked = m.distilled / m.labelsChunked
  return [
    { claim: `the ${top} most probable classes of a token take ≤ ${bytes} bytes`, holds: bytesPerToken <= bytes, found: `${bytesPerToken.toFixed(1)} bytes` },
    { claim: `a step with stored answers takes ≤ ${time} × a step on labels only`, holds: ratio <= time, found: `${ratio.toFixed(3)} ×` },
    { claim: `a step of distillation, in chunks, needs ≤ ${memory} × the memory of plain training`, holds: more <= memory, found: `${more.toFixed(2)} ×` },
    { claim: `… and ≤ ${memory} × that of training in chunks`, holds: chunked <= memory, found: `${chunked.toFixed(2)} ×` },
  ]
}

export function costPage(costs: Costs): string {
  const { top, classes, batch, length, bytesPerToken, stepSeconds, memory: m } = costs
  return `### What a teacher costs

Stored answers: the ${top} most probable of ${classes.toLocaleString("en")} classes that the demo model gives, for windows of text that it was trained on, deflated on disk; steps of a student of half its depth, ${batch} windows of ${length}
tokens, in turns, medians of processor time of one thread. Memory: by how much the resident set of a fresh process grows at most by the models and two steps of a Llama of 2 blocks, ${m.batch} windows of ${m.length} tokens over a vocabulary of ${m.vocabulary.toLocaleString("en")},
weights, optimizer and gradients included, and of distillation the weights and the computation of a teacher of 4 blocks, too. The command:

\`\`\`sh
npx -y pnpm@12.21.0 distill:cost
\`\`\`

| | |
|---|---:|
| bytes per token of stored answers | ${bytesPerToken.toFixed(1)} |
| a step on labels only | ${(1000 * stepSeconds.labels).toFixed(0)} ms |
| a step with stored answers | ${(1000 * stepSeconds.answers).toFixed(0)} ms |
| memory, labels only, \`labels()\` | ${m.labels.toFixed(0)} MB |
| memory, labels only, \`chunked(labels())\` | ${m.labelsChunked.toFixed(0)} MB |
| memory, distillation, \`softTargets()\` | ${m.distilledWhole.toFixed(0)} MB |
| memory, distillation, \`chunked(softTargets())\` | ${m.distilled.toFixed(0)} MB |

${checksTable(costChecks(costs))}`
}
