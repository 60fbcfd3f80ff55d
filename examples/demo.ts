import { open } from "@thimble/kernels"
import { defineCommand, runMain } from "citty"
import { SingleBar } from "cli-progress"
import { mobyDick } from "./demo/data.ts"
import { bytesRead } from "./demo/evaluate.ts"
import { number } from "./demo/number.ts"
import { demo } from "./demo/pipeline.ts"
import { table } from "./demo/table.ts"

const config = { vocabulary: 256, width: 192, layers: 4, heads: 6, kvHeads: 3, hidden: 512, context: 128 }
const protocol = { context: config.context, stride: config.context / 2, windows: 128 }
const batch = 8

const command = defineCommand({
  meta: { name: "demo", description: "Trains a small language model on Moby Dick, quantizes it, and measures what that cost." },
  args: {
    seconds: { type: "string", default: "60", description: "How long to train, about", valueHint: "N" },
    steps: { type: "string", description: "Steps to train, instead of seconds: repeatable on any machine", valueHint: "N" },
    stop: { type: "string", description: "End after this many of the steps, as Ctrl-C would", valueHint: "N" },
    seed: { type: "string", default: "0", description: "Decides all that is left to chance", valueHint: "N" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
    threads: { type: "string", description: "Threads of the CPU device; all processors unless given", valueHint: "N" },
    out: { type: "string", default: "out", description: "Folder for the checkpoints", valueHint: "DIR" },
  },
  async run({ args }) {
    const [seconds, steps, stop, threads] = [number("seconds", args.seconds, 1)!, number("steps", args.steps, 1), number("stop", args.stop, 1), number("threads", args.threads, 1)]
    const seed = number("seed", args.seed, 0)!
    const device = await open(args.device, threads === undefined ? {} : { threads })
    const corpus = await mobyDick()
    console.log(`${corpus.name}: ${count(corpus.training.length)} bytes to train on, the last ${count(corpus.heldOut.length)} held out. A byte is a token.`)
    console.log(`Llama-shaped model: ${config.layers} layers of width ${config.width}, ${config.heads} heads on ${config.kvHeads} key heads, context ${config.context}; on ${device.name}.`)

    const interrupt = new AbortController()
    const onInterrupt = (): void => (interrupt.signal.aborted ? process.exit(130) : interrupt.abort())
    process.on("SIGINT", onInterrupt)
    const bar = new SingleBar({ format: "training {bar} step {value}/{total} · loss {loss} · {speed} tokens/s", gracefulExit: false, hideCursor: true, noTTYOutput: true, notTTYSchedule: 5000 })
    bar.start(steps ?? 0, 0, { loss: "?", speed: "?" })
    const { rows } = await demo({
      corpus, config, protocol, batch, seed, seconds, out: args.out, prompt: "The whale ", sample: 110, signal: interrupt.signal,
      ...(steps !== undefined && { steps }), ...(stop !== undefined && { stop }),
      onStep(p) {
        if (p.steps !== undefined) bar.setTotal(Math.min(p.steps, stop ?? Infinity))
        bar.update(p.step, { loss: p.loss.toFixed(3), speed: count(Math.round(p.tokensPerSecond)) })
      },
      onTrained({ step, steps }) {
        bar.stop()
        const again = `npx -y pnpm@12.21.0 demo --steps ${steps}${step < steps ? ` --stop ${step}` : ""} --seed ${seed}`
        console.log(`${step < steps ? `Stopped at step ${step} of ${steps}` : `Trained ${steps} steps`} of ${batch} × ${config.context} tokens. The same again: ${again}`)
        console.log("Quantizing and measuring …")
      },
    })
    console.log(table(rows))
    console.log(`Perplexity per byte on the first ${count(bytesRead(protocol))} bytes of the held-out text: context ${protocol.context}, stride ${protocol.stride}, ${count(rows[0]!.tokens)} tokens scored.`)
    console.log("KL divergence of the predictions from those of f32, in nats per byte. Tokens/s decode one sequence with a cache.")
    for (const r of rows) console.log(`\n── ${r.format} (${r.file})\n${r.sample}`)
    process.off("SIGINT", onInterrupt)
    await device.close()
  },
})

const count = (n: number): string => n.toLocaleString("en")

await runMain(command)
