// Times Thimble on a GPU, unattended: parts with a time limit each, printed as they go, and kept as a line of JSON each in
// $OUT/gpu.jsonl. PARTS=a,b chooses parts, SECONDS bounds all of them, TINY=1 is for machines without a GPU, MODELS=7B,1B chooses models of decoding, MATRICES=0 leaves matrices of subgroups off.
import { webgpuDevice } from "../packages/kernels/src/webgpu/device.ts"
import { ceilings } from "./gpu/ceilings.ts"
import { conformance } from "./gpu/conformance.ts"
import { attention, decoding, training } from "./gpu/models.ts"
import type { Part } from "./gpu/part.ts"
import { products, rows } from "./gpu/products.ts"
import { demo } from "./gpu/demo.ts"
import { peers } from "./gpu/peers/part.ts"
import { participantOf, serve } from "./gpu/peers/process.ts"
import { profile } from "./gpu/profile.ts"
import { runParts } from "./gpu/run.ts"
import { torch } from "./gpu/torch.ts"

const parts: Record<string, Part> = { torch, ceilings, rows, products, decoding, attention, training, conformance, demo, profile, peers }
const chosen = process.env.PARTS?.split(",") ?? Object.keys(parts)
const participant = participantOf(chosen[0] ?? "")
if (participant !== undefined) await serve(participant)
const stranger = chosen.find((name) => !Object.hasOwn(parts, name))
if (stranger !== undefined) throw new Error(`no part ${stranger}; there are ${Object.keys(parts).join(", ")}`)

const seconds = Number(process.env.SECONDS ?? 460)
// Parts look at the clock between two measurements; one that waits for something that never comes ends with all.
setTimeout(() => {
  console.log(`\nstopped after ${seconds + 15} s: something does not end`)
  process.exit(1)
}, (seconds + 15) * 1e3).unref()
await runParts(chosen.map((name) => parts[name]!), {
  open: () => webgpuDevice({ powerPreference: "high-performance", ...(process.env.MATRICES === "0" && { features: { matrices: [] } }) }),
  seconds, tiny: process.env.TINY !== undefined, file: process.env.OUT === undefined ? undefined : `${process.env.OUT}/gpu.jsonl`,
})
process.exit(0)
