// Opens a model in a process of its own, tells how long it took to the first token, and times what it is asked to.
import { readFile, writeFile } from "node:fs/promises"
import type { Engine } from "./runner.ts"

const [module, path, threads, untouched] = process.argv.slice(2) as [string, string, string, string?]
const { open } = (await import(module)) as { open(threads: number): Promise<Engine> }

/** Memory of the process in bytes: now, and the most it had since {@link forget}. NaN where there is no /proc. */
async function resident(): Promise<{ now: number; most: number }> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "")
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? NaN) * 1024
  return { now: field("VmRSS"), most: field("VmHWM") }
}

/** What the process had before does not count. */
const forget = (): Promise<void> => writeFile("/proc/self/clear_refs", "5").catch(() => {})

const start = performance.now()
const engine = await open(Number(threads))
await forget()
const before = await resident()
const runner = await engine.load(path)
if (untouched === undefined) await runner.generate([1], 1)
const firstToken = performance.now() - start

process.on("message", async ({ prompt, tokens }: { prompt: number; tokens: number }) => {
  const ids = Array.from({ length: prompt }, (_, i) => (i === 0 ? 1 : 300 + ((i * 7919) % 31000)))
  process.send!({ ms: await runner.generate(ids, tokens), memory: (await resident()).most - before.now, held: runner.held?.() })
})
process.on("disconnect", () => process.exit())
process.send!({ firstToken })
