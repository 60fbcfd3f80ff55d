// A job that may be killed at any time: goes on from its checkpoint, and writes a hash of what it made.
import { createHash } from "node:crypto"
import { realize } from "@thimble/core"
import { open } from "../../../kernels/src/index.ts"
import { smallModel } from "../../../models/test/random-model.ts"
import { awq, gptq, int, int8Activations, on, plan, quantize, rtn, sequencesOf } from "../../src/index.ts"

const [checkpoint] = process.argv.slice(2)
const device = await open("wasm", { threads: 1 })
const model = smallModel("llama", { hidden_size: 64, intermediate_size: 96, num_hidden_layers: 3 })
await realize(...Object.values(model.parts()))
const data = await sequencesOf(Array.from({ length: 8 }, (_, s) => Array.from({ length: 16 }, (_, i) => (i * 7 + s * 11) % 40)))
const recipe = quantize({
  default: awq({ format: int(3, { group: 16 }), points: 12 }),
  rules: [on("down_proj", gptq({ format: int(3, { group: 16 }), order: "activity" })), on("lm_head", int8Activations({ method: rtn(int(8)), scale: "tensor" }))],
})
const job = plan(model, recipe).run(data, checkpoint === "" ? {} : { checkpoint: checkpoint! })
process.stdout.write("started\n")
let resumed = 0
for await (const e of job) if (e.kind === "matrix" && e.resumed) resumed++
const made = await job.result, hash = createHash("sha256")
for (const [name, t] of Object.entries(made.model.parts())) {
  const raw = await t.raw()
  hash.update(`${name} ${t.dtype} ${t.shape.join()}`).update(new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength))
}
hash.update(JSON.stringify(made.report.entries.map(({ seconds: _, ...e }) => e)))
process.stdout.write(`done ${resumed} ${hash.digest("hex")}\n`)
await device.close()
