import { fileURLToPath } from "node:url"
import { open } from "@thimble/kernels"
import { defineCommand, runMain } from "citty"
import { showCompression } from "./demo/show-compression.ts"
import { showTraining } from "./demo/show-training.ts"
import { number } from "./demo/number.ts"

const command = defineCommand({
  meta: { name: "demo", description: "Compresses a small language model in several ways, and measures what that cost." },
  args: {
    model: { type: "string", default: fileURLToPath(new URL("../models/demo", import.meta.url)), description: "Directory, or GGUF file, of the model to compress", valueHint: "PATH" },
    prompt: { type: "string", description: "What to go on with", valueHint: "TEXT" },
    train: { type: "boolean", default: false, description: "Train a model of bytes first, and compress that" },
    seconds: { type: "string", default: "60", description: "How long to train, about", valueHint: "N" },
    steps: { type: "string", description: "Steps to train, instead of seconds: repeatable on any machine", valueHint: "N" },
    stop: { type: "string", description: "End after this many of the steps, as Ctrl-C would", valueHint: "N" },
    seed: { type: "string", default: "0", description: "Decides all that is left to chance", valueHint: "N" },
    device: { type: "string", default: "wasm", description: "Where to compute" },
    threads: { type: "string", description: "Threads of the CPU device; all processors unless given", valueHint: "N" },
    out: { type: "string", default: "out", description: "Folder for the files", valueHint: "DIR" },
  },
  async run({ args }) {
    const count = (name: "seconds" | "steps" | "stop" | "threads", least = 1): number | undefined => number(name, args[name], least)
    const [seconds, steps, stop, threads, seed] = [count("seconds")!, count("steps"), count("stop"), count("threads"), number("seed", args.seed, 0)!]
    const device = await open(args.device, threads === undefined ? {} : { threads })
    const interrupt = new AbortController()
    const onInterrupt = (): void => (interrupt.signal.aborted ? process.exit(130) : interrupt.abort())
    process.on("SIGINT", onInterrupt)
    const shared = { device: device.name, seed, out: args.out, signal: interrupt.signal, ...(args.prompt !== undefined && { prompt: args.prompt }) }
    try {
      await (args.train
        ? showTraining({ ...shared, seconds, ...(steps !== undefined && { steps }), ...(stop !== undefined && { stop }) })
        : showCompression({ ...shared, model: args.model }))
    } catch (e) {
      if (!interrupt.signal.aborted) throw e
      console.log("Interrupted.")
      process.exitCode = 130
    } finally {
      process.off("SIGINT", onInterrupt)
      await device.close()
    }
  },
})

await runMain(command)
