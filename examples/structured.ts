// What structured pruning costs the demo model: perplexity on held-out chapters, before any training that would make up for it.
// node examples/structured.ts [--device wasm] [--words 6000]
import { parseArgs } from "node:util"
import { calibration, dropBlocks, lowRank, on, plan, quantize, shrink, sliceWidth, type ChannelScore, type Recipe } from "@thimble/compress"
import { open } from "@thimble/kernels"
import { evaluate, loadModel, perplexity } from "@thimble/models"
import { joined, ofSource, prose } from "./train/text.ts"

const { values: flags } = parseArgs({ options: { device: { type: "string", default: "wasm" }, words: { type: "string", default: "6000" } } })
await open(flags.device as "wasm")
const model = await loadModel(new URL("../models/demo", import.meta.url).pathname), texts = await prose()
const text = joined(ofSource(texts.heldOut, "Moby Dick")).split(" ").slice(0, Number(flags.words)).join(" ")
const data = await calibration(model.tokenizer!, joined(texts.training.filter((_, i) => i % 8 === 0)), { samples: 32, length: 256 })

const scores: readonly ChannelScore[] = ["magnitude", "wanda", "outputs", "taylor", "fisher"]
const recipes: readonly (readonly [name: string, recipe: Recipe | undefined])[] = [
  ["whole", undefined],
  ...[0.25, 0.5].flatMap((channels) => scores.flatMap((score) => [false, true].map((reconstruct) => [`${100 * channels} % of the channels, ${score}${reconstruct ? ", fitted" : ""}`, shrink({ channels, score, reconstruct })] as const))),
  ...scores.map((score) => [`half of the heads, ${score}, fitted`, shrink({ heads: 0.5, score, reconstruct: true })] as const),
  ...(["influence", "angle"] as const).map((score) => [`one block of four, ${score}`, dropBlocks({ count: 1, score })] as const),
  ...[0.0625, 0.125, 0.25].map((share) => [`${100 * share} % of the width`, sliceWidth({ share })] as const),
  ...[0.75, 0.5].flatMap((share) => [false, true].map((aware) => [`${100 * share} % of feed-forward matrices, ${aware ? "outputs" : "elements"}`, quantize({ rules: [on(/mlp/, lowRank({ share, aware }))] })] as const)),
]
console.log("| what is left out | stored bytes | perplexity |\n|---|---:|---:|")
for (const [name, recipe] of recipes) {
  const small = recipe === undefined ? model : (await plan(model, recipe).run(data).result).model
  const { results: [{ perplexity: p }] } = await evaluate(small, { metrics: [perplexity(text, { context: 256 })] })
  console.log(`| ${name} | ${small.bytes.toLocaleString("en")} | ${p.toFixed(2)} |`)
}
