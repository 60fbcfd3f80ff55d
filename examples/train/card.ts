import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { stateDict } from "@thimble/core"
import type { Tokenizer } from "@thimble/formats"
import type { Config, Parameters } from "../demo/model.ts"
import type { Line } from "./checkpoint.ts"
import { curve } from "./curve.ts"
import { scorer } from "./score.ts"
import { sources, tokens, type Document, type Prose } from "./text.ts"

/** What a card tells of: a model as it is shipped, and how it came about. */
export interface Made {
  readonly config: Config
  readonly parameters: Parameters
  readonly texts: Prose
  readonly tokenizer: Tokenizer
  /** The token that begins and ends a text. */
  readonly end: number
  readonly lines: readonly Line[]
  /** Steps that the rate was planned for, those that were made, and the last ones of these in which it fell to 0. */
  readonly steps: number
  readonly stop: number
  readonly cooldown: number
  readonly batch: number
  readonly rate: number
  readonly warmup: number
  readonly seed: number
}

/** Writes README.md and the picture of the losses beside a model, with its perplexity measured on the whole held-out text. */
export async function card(folder: string, made: Made): Promise<void> {
  const { config, parameters, texts, tokenizer, end, lines, steps, stop, cooldown, batch, rate, warmup, seed } = made
  const measured: { name: string; documents: number; bytes: number; tokens: number; scored: number; perplexity: number }[] = []
  for (const { title } of [...sources, { title: undefined }]) {
    const documents = texts.heldOut.filter((d) => title === undefined || d.source === title)
    const ids = tokens(documents, tokenizer, end)
    const { score, dispose } = scorer(config, ids, { begin: end })
    const { perplexity, tokens: scored } = await score(parameters)
    dispose()
    measured.push({ name: title ?? "all", documents: documents.length, bytes: bytes(documents), tokens: ids.length, scored, perplexity })
  }
  const seen = stop * batch * config.context, stream = tokens(texts.training, tokenizer, end).length
  const looks = lines.filter((l) => l.perplexity !== undefined)
  await writeFile(join(folder, "loss.svg"), curve([
    { name: "training", color: "#8aa8d8", points: lines.map((l) => [l.step, l.loss] as const) },
    { name: "held out", color: "#c0392b", points: looks.map((l) => [l.step, Math.log(l.perplexity!)] as const) },
  ], { x: "step", y: "loss, nats per token" }))
  const count = Object.values(stateDict(parameters)).reduce((n, t) => n + t.size, 0)
  const whole = measured.at(-1)!
  await writeFile(join(folder, "README.md"), `---
license: mit
language: en
pipeline_tag: text-generation
---

# Thimble's demo model

A small language model to try compression on: ${n(count)} parameters, trained from nothing with Thimble on a CPU. It writes
sentences that sound like Herman Melville or like a president of the United States, and means nothing by them. Use it
for demonstrations and tests, not for what it says.

Perplexity on held-out text is **${whole.perplexity.toFixed(2)}** per token, or ${bitsPerByte(whole).toFixed(3)} bits per byte.

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

${n(stop)} steps of ${batch} windows of ${config.context} tokens: ${n(seen)} tokens, the stream ${(seen / stream).toFixed(1)} times over. AdamW with β = 0.9 and 0.99, weight decay 0.1 on matrices,
gradients clipped to norm 1; the learning rate rises to ${rate} in ${warmup} steps and falls to a hundredth of that along half a
cosine${stop < steps ? ` of ${n(steps)} steps` : ""}${cooldown > 0 ? `, and in the last ${n(cooldown)} steps before step ${n(stop)} evenly to 0` : ""}. Seed ${seed}. In f32, rounded to bf16 at the end. The same command gives the same files:

\`\`\`sh
node examples/train.ts --steps ${steps}${stop < steps ? ` --stop ${stop}` : ""}${cooldown > 0 ? ` --cooldown ${cooldown}` : ""} --batch ${batch} --rate ${rate} --warmup ${warmup} --seed ${seed}
\`\`\`

![Loss by step](loss.svg)

| step | training loss | held-out perplexity |
|---:|---:|---:|
${looks.map((l) => `| ${n(l.step)} | ${l.loss.toFixed(3)} | ${l.perplexity!.toFixed(2)} |`).join("\n")}

Here, the held-out perplexity is of the first 64 blocks only; the training loss is the mean of 50 steps.

## Held-out perplexity

The bf16 weights, computed in f32. The held-out documents, each ended by \`<|endoftext|>\`, are one stream of tokens, cut into blocks
of ${config.context - 1}. Before each stands \`<|endoftext|>\`, and all of its tokens are scored; blocks do not overlap. Tokens at the
end that fill no 8 blocks are left out.

| text | documents | bytes | tokens | scored | perplexity | bits per byte |
|---|---:|---:|---:|---:|---:|---:|
${measured.map((m) => `| ${m.name} | ${m.documents} | ${n(m.bytes)} | ${n(m.tokens)} | ${n(m.scored)} | ${m.perplexity.toFixed(3)} | ${bitsPerByte(m).toFixed(3)} |`).join("\n")}
`)
}

const n = (value: number): string => value.toLocaleString("en")
const bytes = (documents: readonly Document[]): number => documents.reduce((sum, d) => sum + Buffer.byteLength(d.text), 0)
const bitsPerByte = (m: { readonly bytes: number; readonly tokens: number; readonly perplexity: number }): number => (Math.log2(m.perplexity) * m.tokens) / m.bytes
function part(documents: readonly Document[], title: string): string {
  const own = documents.filter((d) => d.source === title)
  return `${own.length} documents, ${n(bytes(own))} bytes`
}
