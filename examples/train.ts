import { existsSync } from "node:fs"
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { random, tensorsOf } from "@thimble/core"
import { openTokenizer } from "@thimble/formats"
import { open } from "@thimble/kernels"
import { evaluate, perplexity } from "@thimble/models"
import { defineCommand, runMain } from "citty"
import { number } from "./demo/number.ts"
import { card } from "./train/card.ts"
import { openCheckpoint, saveCheckpoint, type Line } from "./train/checkpoint.ts"
import { asModel, exportModel } from "./train/export.ts"
import { train } from "./train/loop.ts"
import { initialize } from "./train/model.ts"
import { prose, tokens } from "./train/text.ts"
import { endOfText, learnTokenizer } from "./train/tokenizer.ts"

/** Rows of all matrices are multiples of 256 long, as the K types of llama.cpp need it. */
const config = { vocabulary: 2048, width: 256, layers: 4, heads: 4, kvHeads: 2, hidden: 512, context: 256 }
/** Steps between lines of the report, and between looks at the held-out text; seconds between checkpoints. */
const [every, look, pause] = [50, 500, 120]

const command = defineCommand({
  meta: { name: "train", description: "Trains the model that the demo loads, and writes it for other libraries to load, too." },
  args: {
    steps: { type: "string", default: "9000", description: "Steps to train", valueHint: "N" },
    batch: { type: "string", default: "8", description: "Sequences per step", valueHint: "N" },
    rate: { type: "string", default: "0.003", description: "Largest learning rate", valueHint: "R" },
    warmup: { type: "string", default: "200", description: "Steps in which the rate rises", valueHint: "N" },
    seed: { type: "string", default: "0", description: "Decides all that is left to chance", valueHint: "N" },
    stop: { type: "string", description: "End after this many of the steps", valueHint: "N" },
    cooldown: { type: "string", default: "0", description: "Last steps before the end in which the rate falls to 0", valueHint: "N" },
    resume: { type: "boolean", default: false, description: "Go on from the checkpoint" },
    export: { type: "boolean", default: false, description: "Write the model that the checkpoint has, and train no further" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
    threads: { type: "string", description: "Threads of the CPU device; all processors unless given", valueHint: "N" },
    checkpoints: { type: "string", default: "out/train", description: "Folder for the checkpoint", valueHint: "DIR" },
    model: { type: "string", default: "models/demo", description: "Folder for the model", valueHint: "DIR" },
  },
  async run({ args }) {
    const count = (name: "steps" | "batch" | "warmup" | "cooldown" | "seed" | "stop" | "threads", least = 1): number | undefined => number(name, args[name], least)
    const [steps, batch, warmup, cooldown, seed, threads] = [count("steps")!, count("batch")!, count("warmup", 2)!, count("cooldown", 0)!, count("seed", 0)!, count("threads")]
    const stop = Math.min(steps, count("stop") ?? steps)
    const rate = Number(args.rate)
    if (!(rate > 0 && rate < 1)) throw new RangeError(`--rate must be between 0 and 1, got '${args.rate}'`)
    const device = await open(args.device, threads === undefined ? {} : { threads })

    const texts = await prose()
    const learned = learnTokenizer(texts.training.map((d) => d.text), config.vocabulary)
    const json = (value: object): Blob => new Blob([JSON.stringify(value)])
    const tokenizer = await openTokenizer(json(learned.tokenizer), { config: json(learned.config) })
    const end = tokenizer.idOf(endOfText)!
    const [text, heldOut] = [tokens(texts.training, tokenizer, end), tokens(texts.heldOut, tokenizer, end)]
    console.log(`${text.length} tokens to train on, ${heldOut.length} held out; ${(texts.heldOut.reduce((n, d) => n + Buffer.byteLength(d.text), 0) / heldOut.length).toFixed(2)} bytes per token.`)

    const settings = JSON.stringify({ config, steps, batch, rate, warmup, seed, ...(cooldown > 0 && { stop, cooldown }) })
    const path = join(args.checkpoints, "checkpoint.safetensors")
    await mkdir(args.checkpoints, { recursive: true })
    let lines: Line[] = []
    const resumed = args.resume || args.export ? await openCheckpoint(path, await initialize(config, random.key(seed))) : undefined
    if (resumed === undefined && existsSync(path)) console.log(`${path} will be replaced; --resume goes on from it.`)
    if (resumed !== undefined) {
      if (resumed.settings !== settings) throw new RangeError(`${path} was written with ${resumed.settings}, not with ${settings}`)
      lines = [...resumed.lines]
    }

    const interrupt = new AbortController()
    if (args.export) interrupt.abort()
    const onInterrupt = (): void => (interrupt.signal.aborted ? process.exit(130) : interrupt.abort())
    process.on("SIGINT", onInterrupt).on("SIGTERM", onInterrupt)
    const some = perplexity([...heldOut], { bos: end, tokens: 64 * (config.context - 1) })
    let losses: number[] = [], saved = performance.now()
    const trained = await train({
      config, text, seed, steps, stop, batch, rate, warmup, cooldown, begin: end, signal: interrupt.signal,
      ...(resumed !== undefined && { from: resumed.snapshot }),
      async onStep({ step, loss, tokensPerSecond }, snapshot) {
        losses.push(loss)
        if (step % every !== 0 && step !== stop) return
        const mean = losses.reduce((a, b) => a + b) / losses.length
        losses = []
        const perplexity = step % look === 0 || step === stop ? (await evaluate(asModel(snapshot.parameters, config), { metrics: [some] })).results[0].perplexity : undefined
        lines.push({ step, loss: mean, ...(perplexity !== undefined && { perplexity }) })
        console.log(`${new Date().toISOString().slice(11, 19)} step ${step}/${stop} · loss ${mean.toFixed(4)} · ${tokensPerSecond.toFixed(0)} tokens/s${perplexity === undefined ? "" : ` · held-out perplexity ${perplexity.toFixed(3)}`}`)
        if (performance.now() - saved > pause * 1000) {
          await saveCheckpoint(path, { snapshot, settings, lines })
          saved = performance.now()
        }
      },
      onEnd: (snapshot) => saveCheckpoint(path, { snapshot, settings, lines }),
    })
    console.log(`Step ${trained.step} of ${stop} is in ${path}.`)
    if (trained.step === stop || args.export) {
      await exportModel(args.model, trained.parameters, config, end, learned)
      await card(args.model, { config, texts, stream: text.length, lines, steps, made: trained.step, stop, batch, rate, warmup, cooldown, seed })
      console.log(`The model is in ${args.model}.`)
    }
    for (const t of tensorsOf(trained.parameters)) t.dispose()
    process.off("SIGINT", onInterrupt).off("SIGTERM", onInterrupt)
    await device.close()
  },
})

await runMain(command)
