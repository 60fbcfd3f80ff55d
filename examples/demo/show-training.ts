import { mobyDick } from "./data.ts"
import { progress } from "./progress.ts"
import type { ShowOptions } from "./show-compression.ts"
import { table } from "./table.ts"
import { trainAndCompare } from "./trained.ts"

const config = { vocabulary: 256, width: 192, layers: 4, heads: 6, kvHeads: 3, hidden: 512, context: 128 }
const protocol = { context: config.context, stride: config.context / 2, tokens: 8320 }
const batch = 8

export interface ShowTrainingOptions extends ShowOptions {
  readonly seconds: number
  readonly steps?: number
  readonly stop?: number
}

/** Trains a model of bytes on Moby Dick, compresses it, and tells what that cost. An interruption ends the training only. */
export async function showTraining({ device, prompt = "The whale ", seconds, stop, ...options }: ShowTrainingOptions): Promise<void> {
  const corpus = await mobyDick()
  console.log(`${corpus.name}: ${count(corpus.training.length)} bytes to train on, the last ${count(corpus.heldOut.length)} held out. A byte is a token.`)
  console.log(`Llama-shaped model: ${config.layers} layers of width ${config.width}, ${config.heads} heads on ${config.kvHeads} key heads, context ${config.context}; on ${device}.`)
  const bar = progress("training {bar} step {value}/{total} · loss {loss} · {speed} tokens/s", options.steps ?? 0, { loss: "?", speed: "?" })
  const { rows } = await trainAndCompare({
    ...options, corpus, config, protocol, batch, seconds, prompt, count: 110, ...(stop !== undefined && { stop }),
    onStep({ step, steps, loss, tokensPerSecond }) {
      if (steps !== undefined) bar.total(Math.min(steps, stop ?? Infinity))
      bar.update(step, { loss: loss.toFixed(3), speed: count(Math.round(tokensPerSecond)) })
    },
    onTrained({ step, steps }) {
      bar.stop()
      const again = `npx -y pnpm@12.21.0 demo --train --steps ${steps}${step < steps ? ` --stop ${step}` : ""} --seed ${options.seed}`
      console.log(`${step < steps ? `Stopped at step ${step} of ${steps}` : `Trained ${steps} steps`} of ${batch} × ${config.context} tokens. The same again: ${again}`)
      console.log("Compressing and measuring …")
    },
  })
  console.log(table(rows))
  console.log(`Perplexity per byte on the first ${count(protocol.tokens)} bytes of the held-out text: context ${protocol.context}, stride ${protocol.stride}, ${count(rows[0]!.protocol.scored)} tokens scored.`)
  console.log("KL divergence of the predictions from those of f32, in nats per byte. Tokens/s decode one sequence with a cache.")
  for (const r of rows) console.log(`\n── ${r.name} (${r.file})\n${prompt}${new TextDecoder().decode(Uint8Array.from(r.ids))}`)
}

const count = (n: number): string => n.toLocaleString("en")
