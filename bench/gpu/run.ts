// The parts of the benchmark one after another: what goes wrong in one costs its rows, and nothing else.
import { appendFileSync } from "node:fs"
import { useDevice } from "@thimble/core"
import type { Context, GpuDevice, Part } from "./part.ts"

const figure = (v: number | string): string => (typeof v === "string" ? v : v === 0 || (Math.abs(v) >= 1e-3 && Math.abs(v) < 1e6) ? String(Number(v.toPrecision(4))) : v.toExponential(2))

export interface RunOptions {
  /** Opens the device; again if it was lost. */
  open(): Promise<GpuDevice>
  /** Seconds that all parts may take together. */
  readonly seconds: number
  readonly tiny: boolean
  /** Where rows go as lines of JSON besides. */
  readonly file?: string | undefined
  print?(line: string): void
}

/** Runs parts in their order, and prints what they find as they go. */
export async function runParts(parts: readonly Part[], { open, seconds, tiny, file, print = (line) => console.log(line) }: RunOptions): Promise<void> {
  const begin = performance.now(), elapsed = (): number => performance.now() - begin
  const ceilings = { copyGbs: NaN, f32Tflops: NaN, f16Tflops: NaN }
  let name = "before the first part"
  const row = (what: string, figures: Readonly<Record<string, number | string>>): void => {
    if (file !== undefined) appendFileSync(file, `${JSON.stringify({ part: name, name: what, ...figures })}\n`)
    print(`[${(elapsed() / 1e3).toFixed(1)}] ${what}: ${Object.entries(figures).map(([k, v]) => `${k} ${figure(v)}`).join(" · ")}`)
  }
  const failed = (e: unknown): void => row("failed", { part: name, error: String((e as Error | undefined)?.message ?? e).slice(0, 600) })
  process.on("unhandledRejection", failed)
  let device = await open(), lost = false
  const watch = (): void => {
    const own = device
    void own.gpu.lost.then(() => { if (own === device) lost = true })
  }
  watch()
  for (const part of parts) {
    name = part.name
    print(`\n== ${name}`)
    const end = Math.min(elapsed() + part.seconds * 1e3, seconds * 1e3)
    try {
      if (lost) {
        device = await open()
        lost = false
        watch()
      }
      // A part that failed may have left another one.
      useDevice(device)
      const context: Context = { device, tiny, ceilings, left: () => end - elapsed(), row }
      if (context.left() < 2000) row("left out", { why: "no time is left" })
      else await part.run(context)
    } catch (e) {
      failed(e)
    }
  }
  process.off("unhandledRejection", failed)
  print(`\nfinished after ${(elapsed() / 1e3).toFixed(0)} s`)
  await device.close()
}
