import { writeFile } from "node:fs/promises"
import { availableParallelism, cpus, loadavg } from "node:os"
import { defineCommand, runMain } from "citty"
import { start, type Participant, type Racer } from "./contestant.ts"
import { measure, type MeasureOptions } from "./measure.ts"
import { figure } from "./row.ts"
import { rowsOf, short, table, type Line } from "./table.ts"
import type { Work } from "./work.ts"
import { works } from "./works.ts"

const us: Participant = { name: "thimble", module: "./ours.ts" }
const peers: readonly Participant[] = ["onnxruntime-node", "onnxruntime-web", "jax-js", "tfjs-wasm", "pytorch"].map((name) => ({
  name,
  module: `./peers/${name}.ts`,
}))

const say = (text: string): void => void process.stderr.write(`${text}\n`)

const command = defineCommand({
  meta: { name: "bench", description: "Times Thimble and its peers side by side in one run; medians and ratios." },
  args: {
    only: {
      type: "string",
      description: "works whose name matches this regular expression",
      default: "",
      valueHint: "regex",
    },
    peers: {
      type: "string",
      description: "peers whose name matches this regular expression",
      default: "",
      valueHint: "regex",
    },
    threads: { type: "string", description: "numbers of threads", default: "1,2", valueHint: "1,2" },
    repeats: { type: "string", description: "samples of each participant", default: "7", valueHint: "N" },
    best: {
      type: "boolean",
      description: "the fastest of many short samples, not the median: for a machine that is busy with other things",
      default: false,
    },
    json: { type: "string", description: "also write the rows to this file", valueHint: "FILE" },
    list: { type: "boolean", description: "name the works and peers and stop", default: false },
  },
  async run({ args }) {
    const chosen = works.filter(({ name }) => new RegExp(args.only, "i").test(name))
    const participants = [us, ...peers.filter(({ name }) => new RegExp(args.peers, "i").test(name))]
    if (args.list) {
      const listed = (title: string, of: readonly { name: string }[]): string =>
        [title, ...of.map(({ name }) => `  ${name}`)].join("\n")
      console.log(`${listed("works", chosen)}\n${listed("peers", participants.slice(1))}`)
      return
    }
    if (chosen.length === 0) throw new Error(`no work matches ${args.only}; --list names them`)
    const threadCounts = args.threads.split(",").map((text) => positive("threads", text))
    const samples: Samples = {
      repeats: positive("repeats", args.repeats),
      ...(args.best ? { sampleMs: 5, summary: (ms) => Math.min(...ms) } : { sampleMs: 100 }),
    }

    const interrupt = new AbortController()
    const stop = (): void => (interrupt.signal.aborted ? process.exit(130) : interrupt.abort())
    process.on("SIGINT", stop).on("SIGTERM", stop)

    say(
      `${cpus()[0]?.model ?? "CPU"}, ${availableParallelism()} threads, load ${loadavg()[0].toFixed(1)}, Node ${process.versions.node}`,
    )
    const lines: Line[] = []
    for (const work of chosen) {
      for (const threads of threadCounts) {
        if (interrupt.signal.aborted) break
        lines.push(await race(work, threads, participants, samples, interrupt.signal))
      }
    }

    const measured = lines.filter(({ figures }) => figures.size > 0)
    const names = participants.map(({ name }) => name)
    console.log(table(measured, names, us.name))
    const rows = measured.flatMap((line) => rowsOf(line, us.name))
    if (args.json) await writeFile(args.json, `${JSON.stringify(rows, null, 2)}\n`)
    if (interrupt.signal.aborted) process.exitCode = 130
  },
})

type Samples = Pick<MeasureOptions, "repeats" | "sampleMs" | "summary">

/** Measures one work with one number of threads. */
async function race(
  work: Work,
  threads: number,
  participants: readonly Participant[],
  samples: Samples,
  signal: AbortSignal,
): Promise<Line> {
  const expected = expectedOf(work)
  say(`\n${work.name}, ${threads} ${threads === 1 ? "thread" : "threads"}`)
  const failed = (name: string, reason: string): void => say(`  ${name}: left out, ${reason}`)
  const racers: Racer[] = []
  const line: Line = { work: work.name, threads, unit: work.unit, figures: new Map() }
  try {
    for (const participant of participants) {
      const racer = await start(participant, work, threads, expected, signal)
      if (signal.aborted) return line
      if ("absent" in racer) failed(participant.name, racer.absent)
      else racers.push(racer)
    }
    const found = await measure(racers, { ...samples, warmUpMs: 500, restMs: 20, signal, failed })
    for (const [name, ms] of found) {
      line.figures.set(name, figure(work.unit, work.amount, ms))
      say(`  ${name}: ${short(line.figures.get(name)!)} ${work.unit}`)
    }
  } finally {
    await Promise.all(racers.map((racer) => racer.close()))
  }
  return line
}

let last: { work: Work; expected: ReturnType<Work["expected"]> } | undefined
/** Kept from one number of threads to the next. */
function expectedOf(work: Work): ReturnType<Work["expected"]> {
  if (last?.work !== work) last = { work, expected: work.expected() }
  return last.expected
}

function positive(option: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${option}: expected a whole number above 0, got "${text}"`)
  return value
}

await runMain(command)
