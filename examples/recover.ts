// Hurts the demo model, by two bits a weight or by pruning, and distils it from what it was for some time: how much comes back?
import { fileURLToPath } from "node:url"
import { adamW, tensorsOf, type Tensor } from "@thimble/core"
import { affine, convert, int, lsq, prepare, masked, tuned, type Bits, type PrepareOptions } from "@thimble/compress"
import { distill, forwardKL, windows } from "@thimble/distill"
import { open } from "@thimble/kernels"
import type { Model } from "@thimble/models"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { material } from "./distill/material.ts"
import { page, printChecks, record, recorded } from "./distill/record.ts"
import { recoverChecks, recoverPage, type Recovered, type Recoveries } from "./distill/recover-page.ts"
import { timed } from "./distill/timed.ts"

interface Way {
  readonly name: string
  readonly kind: Recovered["kind"]
  readonly prepare: PrepareOptions
  /** The rate in the middle of those that are tried. */
  readonly rate: number
  readonly trains?: (path: string, tensor: Tensor, model: Model) => boolean
}
const scalesAndNorms = (path: string, _: Tensor, model: Model): boolean => /\.(?:scales|mins)$/.test(path) || path in model.vectors
const ways = (bits: Bits, group: number, sparsity: number): readonly Way[] => [
  { name: `${bits} bits, steps and weights (LSQ)`, kind: "few bits", prepare: { default: lsq(int(bits, { group })) }, rate: 0.001 },
  { name: `${100 * sparsity} % pruned by magnitude`, kind: "pruned", prepare: { default: masked(sparsity) }, rate: 0.0005 },
  { name: `${bits} bits, scales and norms`, kind: "few bits", prepare: { default: tuned(int(bits, { group })) }, rate: 0.003, trains: scalesAndNorms },
  { name: `${bits} bits, asymmetric, scales and norms`, kind: "few bits", prepare: { default: tuned(int(bits, { group, range: "asymmetric" })) }, rate: 0.003, trains: scalesAndNorms },
  { name: `${bits} bits, scales, minima and norms`, kind: "few bits", prepare: { default: tuned(affine(bits, { group })) }, rate: 0.001, trains: scalesAndNorms },
]
/** Rates that are tried, as factors, for a share of the time each. */
const [tried, share] = [[1 / 3, 1, 3], 1 / 8] as const

const command = defineCommand({
  meta: { name: "recover", description: "Quantizes or prunes the demo model, and recovers it by distillation." },
  args: {
    model: { type: "string", default: fileURLToPath(new URL("../models/demo", import.meta.url)), description: "Directory, or GGUF file, of the model", valueHint: "PATH" },
    seconds: { type: "string", default: "240", description: "Processor time to train each student", valueHint: "N" },
    bits: { type: "string", default: "2", description: "Bits of a weight", valueHint: "N" },
    group: { type: "string", default: "64", description: "Neighbours that share a scale", valueHint: "N" },
    sparsity: { type: "string", default: "0.5", description: "Share of the weights that pruning takes", valueHint: "X" },
    batch: { type: "string", default: "4", description: "Windows per step", valueHint: "N" },
    length: { type: "string", default: "128", description: "Tokens of a window", valueHint: "N" },
    tokens: { type: "string", default: "8000", description: "Held-out tokens that are scored", valueHint: "N" },
    missing: { type: "boolean", default: false, description: "Only students that the page does not have yet" },
    only: { type: "string", description: "Only students whose name has this in it", valueHint: "TEXT" },
    out: { type: "string", default: page, description: "The page on which the results are recorded", valueHint: "FILE" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
  },
  async run({ args }) {
    const count = (name: "seconds" | "bits" | "group" | "batch" | "length" | "tokens"): number => number(name, args[name], 1)!
    const settings = { seconds: count("seconds"), batch: count("batch"), length: count("length"), tokens: count("tokens") }, { seconds, batch, length } = settings
    const device = await open(args.device, { threads: 1 }), { model: teacher, text, begin, measure } = await material(args.model, settings.tokens)
    const data = windows(text, { batch, length, begin }), all = ways(count("bits") as Bits, count("group"), Number(args.sparsity)), kept = args.missing || args.only !== undefined
    const old = kept ? await recorded<Recoveries>(args.out, "recover") : undefined
    for (const [name, value] of Object.entries(settings)) if (old !== undefined && old[name as keyof typeof settings] !== value) throw new RangeError(`the rows that are there were made with ${old[name as keyof typeof settings]} ${name}, and ${value} cannot stand beside them`)
    const known = new Map((old?.rows ?? []).map((r) => [r.name, r])), shared = new Set(tensorsOf(teacher))
    const drop = (model: Model): void => tensorsOf(model).forEach((t) => shared.has(t) || t.dispose())
    let results: Recoveries = { ...settings, tried, share, rows: [...known.values()] }
    for (const { name, kind, prepare: how, rate, trains } of all) {
      if ((args.only !== undefined && !name.includes(args.only)) || (args.missing && known.has(name))) continue
      const student = await prepare(teacher, { ...how, rules: [["embed_tokens", "keep"]] })
      const trained = (rate: number, seconds: number) => timed({ seconds, rate }, (how) =>
        distill({ teacher, student, loss: forwardKL(), data, optimizer: adamW({ rate, weightDecay: 0 }), clip: 1, ...how, ...(trains && { trains: (path: string, t: Tensor) => trains(path, t, student) }) }))
      // Rates are judged on other text than what is scored.
      const attempts: { readonly rate: number; readonly divergence: number }[] = []
      for (const factor of tried) {
        const { model } = await trained(rate * factor, seconds * share), stored = await convert(model)
        attempts.push({ rate: rate * factor, divergence: (await measure(stored, "validation")).divergence })
        drop(stored)
      }
      const best = attempts.toSorted((a, b) => a.divergence - b.divergence)[0]!, hurt = await convert(student), before = await measure(hurt)
      const { model, steps } = await trained(best.rate, seconds), stored = await convert(model), after = await measure(stored)
      known.set(name, { name, kind, rate: best.rate, attempts, steps, bytes: stored.bytes, before, after })
      results = { ...results, rows: all.map((w) => known.get(w.name)).filter((r) => r !== undefined) }
      console.log(`${name}: KL ${before.divergence.toFixed(3)} → ${after.divergence.toFixed(3)} ± ${after.error.toFixed(3)} in ${steps} steps at ${best.rate.toPrecision(2)}, ${(100 * (1 - after.divergence / before.divergence)).toFixed(1)} % recovered`)
      await record(args.out, "recover", results, recoverPage(results))
      for (const m of [hurt, stored]) drop(m)
    }
    printChecks(recoverChecks(results))
    await device.close()
  },
})

await runMain(command)
