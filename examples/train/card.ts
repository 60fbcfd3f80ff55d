import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { tensorsOf } from "@thimble/core"
import { curve } from "@thimble/distill"
import { evaluate, loadModel, perplexity, type Perplexity } from "@thimble/models"
import type { Line } from "./checkpoint.ts"
import type { Config } from "./model.ts"
import { joined, ofSource, sources, type Document, type Prose } from "./text.ts"

/** What a card tells of: how a model came about. */
export interface Made {
  readonly config: Config
  readonly texts: Prose
  /** Tokens of the stream that windows were drawn from. */
  readonly stream: number
  readonly lines: readonly Line[]
  /** Steps that the rate was planned for, those that were made, the end that was meant, and the last steps before it in which the rate falls to 0. */
  readonly steps: number
  readonly made: number
  readonly stop: number
  readonly cooldown: number
  readonly batch: number
  readonly rate: number
  readonly warmup: number
  readonly seed: number
}

/** Writes README.md and the picture of the losses beside the files of a model, which is loaded and measured on the whole held-out text. */
export async function card(folder: string, made: Made): Promise<void> {
  const { config, texts, stream, lines, steps, made: step, stop, cooldown, batch, rate, warmup, seed } = made
  const model = await loadModel(folder)
  const parts = [...sources.map(({ title }) => ({ title, documents: ofSource(texts.heldOut, title) })), { title: "all", documents: texts.heldOut }]
  const { results } = await evaluate(model, { metrics: parts.map(({ documents }) => perplexity(joined(documents))) })
  const measured = (results as readonly Perplexity[]).map((result, i) => ({ ...parts[i]!, ...result }))
  const seen = step * batch * config.context
  const looks = lines.filter((l) => l.perplexity !== undefined)
  await writeFile(join(folder, "loss.svg"), curve([
    { name: "training", color: "#8aa8d8", points: lines.map((l) => [l.step, l.loss] as const) },
    { name: "held out", color: "#c0392b", points: looks.map((l) => [l.step, Math.log(l.perplexity!)] as const) },
  ], { x: "step", y: "loss, nats per token" }))
  const whole = measured.at(-1)!
  await writeFile(join(folder, "README.md"), `---
license: mit
language: en
pipeline_tag: text-generation
---

# Thimble's demo model

A small language model to try compression on: ${n(model.size)} parameters, trained from nothing with Thimble on a CPU. It writes
sentences that sound like Herman Melville or like a president of the United States, and means nothing by them. Use it
for demonstrations and tests, not for what it says.

Perplexity on held-out text is **${whole.perplexity.toFixed(2)}** per token, or ${whole.bitsPerByte!.toFixed(3)} bits per byte.

| file | what it is |
|---|---|
| \`model.safetensors\`, \`config.json\` | \`LlamaForCausalLM\` in bf16 |
| \`tokenizer.json\`, \`tokenizer_config.json\` | byte-level BPE of ${n(config.vocabulary)} tokens, learned from the training text |
| \`generation_config.json\` | how to sample unless told otherwise |
| \`loss.svg\` | the picture below |

## Shape

Llama: ${config.layers} layers of width ${config.width}, ${config.heads} heads of ${config.width / config.heads} on ${config.kvHeads} heads of keys and values, feed-forward width ${config.hidden}, context ${config.context}, input and
output embeddings tied. All rows of all matrices are multiples of 256 long, so every block type of llama.cpp fits.

## Data

| text | from | trained on | held out |
|---|---|---|---|
${sources.map(({ title, module }) => `| ${title} | \`${module}\` | ${part(texts.training, title)} | ${part(texts.heldOut, title)} |`).join("\n")}

Both packages dedicate their data to the public domain (PDDL 1.0, contents CC0 1.0). Every 20th document is held out,
chapters in their order and addresses by year. Quotation marks are made plain and white space is made single; a paragraph is a line.
Moby Dick stands twice in the stream of ${n(stream)} tokens that training draws its windows from; \`<|endoftext|>\`
ends each document and begins each window.

## Training

${n(step)} steps of ${batch} windows of ${config.context} tokens: ${n(seen)} tokens, the stream ${(seen / stream).toFixed(1)} times over. AdamW with β = 0.9 and 0.99, weight decay 0.1 on matrices,
gradients clipped to norm 1; the learning rate rises to ${rate} in ${warmup} steps and falls to a hundredth of that along half a
cosine${stop < steps ? ` of ${n(steps)} steps` : ""}${cooldown > 0 ? `, and in the last ${n(cooldown)} steps before step ${n(stop)} evenly to 0` : ""}. Seed ${seed}. In f32, rounded to bf16 at the end. The command${step < stop ? `, interrupted after step ${step} and then called with \`--export\`` : ""}:

\`\`\`sh
npx -y pnpm@12.21.0 train --steps ${steps}${stop < steps ? ` --stop ${stop}` : ""}${cooldown > 0 ? ` --cooldown ${cooldown}` : ""} --batch ${batch} --rate ${rate} --warmup ${warmup} --seed ${seed}
\`\`\`

![Loss by step](loss.svg)

| step | training loss | held-out perplexity |
|---:|---:|---:|
${looks.map((l) => `| ${n(l.step)} | ${l.loss.toFixed(3)} | ${l.perplexity!.toFixed(2)} |`).join("\n")}

Here, the held-out perplexity is of the first 64 blocks only, nearly all of which are Moby Dick; the training loss is the mean of 50 steps.

## Held-out perplexity

By \`evaluate(model, { metrics: [perplexity(text)] })\` of \`@thimble/models\`; the bf16 weights, computed in f32. The text is
the held-out documents, joined by line breaks. Its tokens are cut into blocks of ${whole.protocol.stride}, before each of which stands \`<|endoftext|>\`;
blocks do not overlap, and every token is scored.

| text | documents | tokens scored | perplexity | ± | bits per byte | SHA-256 of the text |
|---|---:|---:|---:|---:|---:|---|
${measured.map((m) => `| ${m.title} | ${m.documents.length} | ${n(m.protocol.scored)} | ${m.perplexity.toFixed(3)} | ${m.perplexityError.toFixed(3)} | ${m.bitsPerByte!.toFixed(4)} | \`${m.protocol.text.slice(0, 16)}…\` |`).join("\n")}
`)
  for (const t of tensorsOf(model)) t.dispose()
}

const n = (value: number): string => value.toLocaleString("en")
const bytes = (documents: readonly Document[]): number => documents.reduce((sum, d) => sum + Buffer.byteLength(d.text), 0)
function part(documents: readonly Document[], title: string): string {
  const own = ofSource(documents, title)
  return `${own.length} documents, ${n(bytes(own))} bytes`
}
