// Thimble and llama.cpp (node-llama-cpp) with the same GGUF files, side by side: tokens/s decoding and reading prompts, time
// to the first token, peak memory.
// node bench/llama/main.ts [types] [threads] [repeats]   e.g. Q4_0,Q4_K 1,2 5
import { fork, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { stat } from "node:fs/promises"
import Table from "cli-table3"
import type { GgmlName } from "@thimble/formats"
import { median } from "../measure.ts"
import { llamaFile, shape } from "./file.ts"

const [types = "F32,Q8_0,Q4_0,Q4_K", threadCounts = "1,2", repeats = "3"] = process.argv.slice(2)
const participants = ["./thimble.ts", "./llama-cpp.ts"] as const
const decoded = 128, prompt = 512
/** Of keys and values in f32, with room for the tokens that are decoded. */
const cache = shape.layers * 2 * 256 * shape.width * 4

interface Timed { readonly ms: number; readonly memory: number; readonly held?: number }
interface Racer { readonly child: ChildProcess; readonly firstToken: number; ask(prompt: number, tokens: number): Promise<Timed>; close(): Promise<unknown> }

/** A process with the model; `untouched` if what it is asked is to be the first that it computes. */
async function start(module: string, path: string, threads: number, ...untouched: readonly "untouched"[]): Promise<Racer> {
  const child = fork(new URL("child.ts", import.meta.url), [module, path, String(threads), ...untouched], { stdio: ["ignore", "inherit", "inherit", "ipc"] })
  const ended = once(child, "exit").then(([code]) => { throw new Error(`${module} ended (${String(code)})`) })
  ended.catch(() => {})
  const answer = async <T>(): Promise<T> => (await Promise.race([once(child, "message"), ended]) as [T])[0]
  const { firstToken } = await answer<{ firstToken: number }>()
  return {
    child, firstToken,
    ask(prompt, tokens) {
      child.send({ prompt, tokens })
      return answer<Timed>()
    },
    close() {
      child.disconnect()
      return once(child, "exit")
    },
  }
}

const table = new Table({ head: ["work", "threads", "unit", "thimble", "llama.cpp", "ratio"], colAligns: ["left", "right", "left", "right", "right", "right"], style: { head: [], border: [], compact: true } })
const short = (n: number): string => (n >= 100 ? n.toFixed(0) : n.toFixed(1))
/** `more` is better, or less. */
function row(work: string, threads: number, unit: string, [ours, theirs]: readonly [number, number], more: boolean): void {
  const cells = [work, threads, unit, short(ours), short(theirs), (more ? ours / theirs : theirs / ours).toFixed(2)]
  console.error(cells.join("  "))
  table.push(cells)
}
const pair = <T>(f: (i: 0 | 1) => T): [T, T] => [f(0), f(1)]

for (const type of types.split(",") as GgmlName[]) {
  const path = await llamaFile(type), { size } = await stat(path)
  for (const threads of threadCounts.split(",").map(Number)) {
    const racers = [await start(participants[0], path, threads), await start(participants[1], path, threads)] as const
    const decoding: [number[], number[]] = [[], []], reading: [number[], number[]] = [[], []]
    for (let round = -1; round < Number(repeats); round++) {
      for (const i of [0, 1] as const) {
        const decode = await racers[i].ask(1, decoded + 1)
        // The first round warms up.
        if (round >= 0) decoding[i].push(decode.ms)
      }
      if (round === -1) continue
      for (const i of [0, 1] as const) {
        if (round === 0) await racers[i].ask(prompt, 1)
        reading[i].push((await racers[i].ask(prompt, 1)).ms)
      }
    }
    row(`decode ${decoded} ${type}`, threads, "tokens/s", pair((i) => (1000 * decoded) / median(decoding[i])), true)
    row(`prompt ${prompt} ${type}`, threads, "tokens/s", pair((i) => (1000 * prompt) / median(reading[i])), true)
    await Promise.all(racers.map((r) => r.close()))
    const first: [number[], number[]] = [[racers[0].firstToken], [racers[1].firstToken]]
    for (let round = 1; round < Number(repeats); round++)
      for (const i of [0, 1] as const) {
        const racer = await start(participants[i], path, threads)
        first[i].push(racer.firstToken)
        await racer.close()
      }
    row(`first token ${type}, ${(size / 2 ** 20).toFixed(0)} MiB`, threads, "ms", pair((i) => median(first[i])), false)
    const memory: [number[], number[]] = [[], []]
    let held = 0
    for (let round = 0; round < Number(repeats); round++)
      for (const i of [0, 1] as const) {
        const racer = await start(participants[i], path, threads, "untouched"), decode = await racer.ask(1, decoded + 1)
        memory[i].push(decode.memory)
        held = Math.max(held, decode.held ?? 0)
        await racer.close()
      }
    const mebibytes = (n: number): string => short(n / 2 ** 20)
    console.error(`${type}, ${threads} threads: grew by ${memory[0].map(mebibytes).join(", ")}; file ${mebibytes(size)} MiB, the device holds ${mebibytes(held)}; 1.3 × file + cache is ${mebibytes(1.3 * size + cache)}`)
    row(`memory ${type}, ${mebibytes(size)} MiB`, threads, "MiB", pair((i) => median(memory[i]) / 2 ** 20), false)
  }
}
console.log(table.toString())
