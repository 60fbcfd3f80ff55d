// Times Thimble on a GPU, unattended: parts with a time limit each, printed as they go, and kept as a line of JSON each in
// $OUT/gpu.jsonl. PARTS=a,b chooses parts, SECONDS bounds all of them, TINY=1 is for machines without a GPU.
import { appendFileSync } from "node:fs"
import { open } from "@thimble/kernels"
import { ceilings } from "./gpu/ceilings.ts"
import { conformance } from "./gpu/conformance.ts"
import { attention, decoding, training } from "./gpu/models.ts"
import type { Context, GpuDevice, Part } from "./gpu/part.ts"
import { products, rows } from "./gpu/products.ts"
import { demo } from "./gpu/demo.ts"
import { peers } from "./gpu/peers/part.ts"
import { participantOf, serve } from "./gpu/peers/process.ts"
import { profile } from "./gpu/profile.ts"
import { torch } from "./gpu/torch.ts"

const parts: Record<string, Part> = { torch, ceilings, rows, products, decoding, attention, training, conformance, demo, profile, peers }
const chosen = process.env.PARTS?.split(",") ?? Object.keys(parts)
const participant = participantOf(chosen[0] ?? "")
if (participant !== undefined) await serve(participant)
const totalSeconds = Number(process.env.SECONDS ?? 460)
const begin = performance.now(), elapsed = (): number => performance.now() - begin

const file = process.env.OUT === undefined ? undefined : `${process.env.OUT}/gpu.jsonl`
const figure = (v: number | string): string => (typeof v === "string" ? v : v === 0 || (Math.abs(v) >= 1e-3 && Math.abs(v) < 1e6) ? String(Number(v.toPrecision(4))) : v.toExponential(2))

const device = (await open("webgpu", { powerPreference: "high-performance" })) as GpuDevice
const found = { copyGbs: NaN, f32Tflops: NaN, f16Tflops: NaN }
const tiny = process.env.TINY !== undefined
for (const name of chosen) {
  const part = parts[name]
  if (part === undefined) throw new Error(`no part ${name}; there are ${Object.keys(parts).join(", ")}`)
  const start = elapsed(), end = Math.min(start + part.seconds * 1e3, totalSeconds * 1e3)
  const context: Context = {
    device, tiny, ceilings: found,
    left: () => end - elapsed(),
    row(name, figures) {
      if (file !== undefined) appendFileSync(file, `${JSON.stringify({ part: part.name, name, ...figures })}\n`)
      console.log(`[${(elapsed() / 1e3).toFixed(1)}] ${name}: ${Object.entries(figures).map(([k, v]) => `${k} ${figure(v)}`).join(" · ")}`)
    },
  }
  console.log(`\n== ${part.name}`)
  if (context.left() < 2000) context.row("left out", { why: "no time is left" })
  else
    await part.run(context).catch((e: Error) => {
      context.row("failed", { part: part.name, error: e.message.slice(0, 600) })
    })
}
console.log(`\nfinished after ${(elapsed() / 1e3).toFixed(0)} s`)
await device.close()
process.exit(0)
