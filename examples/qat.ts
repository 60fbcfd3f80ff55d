// Makes few bits hurt less: trains the demo model while it computes with rounded matrices, towards its own logits.
import { fileURLToPath } from "node:url"
import { tensor, tensorsOf } from "@thimble/core"
import { convert, int, prepare, type Bits, type PrepareOptions } from "@thimble/compress"
import { open } from "@thimble/kernels"
import { evaluate, loadModel, perplexity, type Model } from "@thimble/models"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { trained } from "./table/trained.ts"
import { joined, ofSource, prose, tokens } from "./train/text.ts"

const command = defineCommand({
  meta: { name: "qat", description: "Trains the demo model in few bits, as its own student." },
  args: {
    model: { type: "string", default: fileURLToPath(new URL("../models/demo", import.meta.url)), description: "Directory, or GGUF file, of the model", valueHint: "PATH" },
    bits: { type: "string", default: "2", description: "Bits of a weight", valueHint: "N" },
    group: { type: "string", default: "64", description: "Neighbours that share a scale", valueHint: "N" },
    steps: { type: "string", default: "200", description: "Steps to train", valueHint: "N" },
    batch: { type: "string", default: "4", description: "Windows per step", valueHint: "N" },
    length: { type: "string", default: "128", description: "Tokens of a window", valueHint: "N" },
    rate: { type: "string", default: "0.001", description: "Learning rate at the start; it falls to 0", valueHint: "R" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
  },
  async run({ args }) {
    const count = (name: "bits" | "group" | "steps" | "batch" | "length"): number => number(name, args[name], 1)!
    const [steps, batch, length, rate] = [count("steps"), count("batch"), count("length"), Number(args.rate)]
    const device = await open(args.device), teacher = await loadModel(args.model), texts = await prose(), { tokenizer } = teacher
    if (tokenizer?.eos === undefined) throw new RangeError("the model has no tokenizer, or no token that ends texts")
    const text = tensor(tokens(texts.training, tokenizer, tokenizer.eos), { dtype: "i32" })
    const heldOut = joined(ofSource(texts.heldOut, "Moby Dick"))
    const tell = async (what: string, model: Model): Promise<void> =>
      console.log(`${what}: perplexity ${(await evaluate(model, { metrics: [perplexity(heldOut, { context: 256, tokens: 8000 })] })).results[0].perplexity.toFixed(2)}, ${(model.bytes / 1e6).toFixed(2)} MB`)

    const format = int(count("bits") as Bits, { group: count("group") }), keep: PrepareOptions["rules"] = [["embed_tokens", int(8)]]
    await tell("as it is", teacher)
    const rounded = await prepare(teacher, { default: format, rules: keep })
    await tell(`rounded to ${format.name}`, await convert(rounded))
    for (const t of tensorsOf(rounded)) t.dispose()

    let sum = 0
    const begun = performance.now()
    const onStep = (i: number, loss: number): void => {
      sum += loss
      if (i % 20 > 0 && i < steps) return
      console.log(`step ${i}/${steps} · loss ${(sum / (i % 20 || 20)).toFixed(4)} · ${((performance.now() - begun) / i).toFixed(0)} ms a step`)
      sum = 0
    }
    await tell("trained and stored", await trained(teacher, text, { format, rules: keep, steps, batch, length, rate, seed: 0, onStep }))
    await device.close()
  },
})

await runMain(command)
