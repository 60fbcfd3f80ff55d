// Opens a model in a process of its own, tells how long it took to the first token, and times what it is asked to.
import { readFile } from "node:fs/promises"
import type { Runner } from "./runner.ts"

const [module, path, threads] = process.argv.slice(2) as [string, string, string]
const { open } = (await import(module)) as { open(path: string, threads: number): Promise<Runner> }

/** Memory of the process in bytes: now, and the most it ever had. */
async function resident(): Promise<{ now: number; most: number }> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "")
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? NaN) * 1024
  return { now: field("VmRSS"), most: field("VmHWM") }
}

const before = await resident(), start = performance.now()
const runner = await open(path, Number(threads))
await runner.generate([1], 1)
const firstToken = performance.now() - start

process.on("message", async ({ prompt, tokens }: { prompt: number; tokens: number }) => {
  const ids = Array.from({ length: prompt }, (_, i) => (i === 0 ? 1 : 300 + ((i * 7919) % 31000)))
  process.send!({ ms: await runner.generate(ids, tokens), memory: (await resident()).most - before.now, held: runner.held?.() })
})
process.on("disconnect", () => process.exit())
process.send!({ firstToken })
