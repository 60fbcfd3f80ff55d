// Hurts the demo model, by two bits a weight or by pruning, and distils it from what it was for some time: how much comes back?
import { fileURLToPath } from "node:url"
import { adamW, type Tensor } from "@thimble/core"
import { affine, convert, int, lsq, prepare, masked, tuned, type Bits, type PrepareOptions } from "@thimble/compress"
import { distill, forwardKL, windows } from "@thimble/distill"
import { open } from "@thimble/kernels"
import type { Model } from "@thimble/models"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { material } from "./distill/material.ts"
import { timed } from "./distill/timed.ts"

interface Way {
  readonly name: string
  readonly prepare: PrepareOptions
  readonly rate: number
  readonly trains?: (path: string, tensor: Tensor, model: Model) => boolean
}
const scalesAndNorms = (path: string, _: Tensor, model: Model): boolean => /\.(?:scales|mins)$/.test(path) || path in model.vectors
const ways = (bits: Bits, group: number, sparsity: number): readonly Way[] => [
  { name: `${bits} bits, scales and norms`, prepare: { default: tuned(int(bits, { group })) }, rate: 0.003, trains: scalesAndNorms },
  { name: `${bits} bits, asymmetric, scales and norms`, prepare: { default: tuned(int(bits, { group, range: "asymmetric" })) }, rate: 0.003, trains: scalesAndNorms },
  { name: `${bits} bits, scales, minima and norms`, prepare: { default: tuned(affine(bits, { group })) }, rate: 0.001, trains: scalesAndNorms },
  { name: `${bits} bits, steps and weights (LSQ)`, prepare: { default: lsq(int(bits, { group })) }, rate: 0.001 },
  { name: `${100 * sparsity} % pruned by magnitude`, prepare: { default: masked(sparsity) }, rate: 0.0003 },
]

const command = defineCommand({
  meta: { name: "recover", description: "Quantizes or prunes the demo model, and recovers it by distillation." },
  args: {
    model: { type: "string", default: fileURLToPath(new URL("../models/demo", import.meta.url)), description: "Directory, or GGUF file, of the model", valueHint: "PATH" },
    seconds: { type: "string", default: "300", description: "Time to train each student", valueHint: "N" },
    bits: { type: "string", default: "2", description: "Bits of a weight", valueHint: "N" },
    group: { type: "string", default: "64", description: "Neighbours that share a scale", valueHint: "N" },
    sparsity: { type: "string", default: "0.5", description: "Share of the weights that pruning takes", valueHint: "X" },
    batch: { type: "string", default: "4", description: "Windows per step", valueHint: "N" },
    length: { type: "string", default: "128", description: "Tokens of a window", valueHint: "N" },
    rate: { type: "string", description: "Largest learning rate, of all students", valueHint: "R" },
    tokens: { type: "string", default: "8000", description: "Held-out tokens that are scored", valueHint: "N" },
    only: { type: "string", description: "Only students whose name has this in it", valueHint: "TEXT" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
  },
  async run({ args }) {
    const count = (name: "seconds" | "bits" | "group" | "batch" | "length" | "tokens"): number => number(name, args[name], 1)!
    const [seconds, batch, length] = [count("seconds"), count("batch"), count("length")]
    const device = await open(args.device), { model: teacher, text, begin, measure } = await material(args.model, count("tokens"))
    const data = windows(text, { batch, length, begin })
    for (const { name, prepare: how, rate, trains } of ways(count("bits") as Bits, count("group"), Number(args.sparsity))) {
      if (args.only !== undefined && !name.includes(args.only)) continue
      const student = await prepare(teacher, { ...how, rules: [["embed_tokens", "keep"]] }), before = await measure(await convert(student))
      const { model, steps } = await timed({ seconds, rate: args.rate === undefined ? rate : Number(args.rate) }, (how) =>
        distill({ teacher, student, loss: forwardKL(), data, optimizer: adamW({ rate, weightDecay: 0 }), clip: 1, ...how, ...(trains && { trains: (path: string, t: Tensor) => trains(path, t, student) }) }))
      const stored = await convert(model), after = await measure(stored)
      console.log(`${name}: KL ${before.divergence.toFixed(3)} → ${after.divergence.toFixed(3)} ± ${after.error.toFixed(3)} in ${seconds} s (${steps} steps), ${(100 * (1 - after.divergence / before.divergence)).toFixed(1)} % recovered; perplexity ${before.perplexity.toFixed(2)} → ${after.perplexity.toFixed(2)}; ${(stored.bytes / 1e6).toFixed(2)} MB`)
    }
    await device.close()
  },
})

await runMain(command)
