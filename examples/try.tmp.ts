import { open } from "@thimble/kernels"
import { loadModel, evaluate, perplexity, klDivergence } from "@thimble/models"
import { plan, quantize, rtn, int, awq, smooth, calibration, keep, on } from "@thimble/compress"
import { memory } from "@thimble/core"
import { joined, prose } from "./train/text.ts"
await open("wasm")
const model = await loadModel("models/demo")
const all = await prose()
const data = await calibration(model.tokenizer!, joined(all.training).slice(0, 2000000), { samples: 32, length: 256 })
const held = joined(all.heldOut).slice(0, 60000)
const base = (await evaluate(model, { metrics: [perplexity(held)] })).results[0]
console.log("base", base.value)
for (const [name, method] of [["rtn3", rtn(int(3, { group: 64, range: "asymmetric" }))], ["awq3", awq({ format: int(3, { group: 64, range: "asymmetric" }) })], ["awq3 noclip", awq({ format: int(3, { group: 64, range: "asymmetric" }), clip: "none" })], ["smooth", smooth({ method: rtn(int(3, { group: 64, range: "asymmetric" })) })]] as const) {
  const p = plan(model, quantize({ default: method }))
  if (name === "rtn3") console.log(String(p))
  const t = performance.now()
  const { model: small, report } = await p.run(data, {}).result
  if (name === "awq3") console.log(String(report))
  const [a, b] = (await evaluate(small, { reference: model, metrics: [perplexity(held), klDivergence(held)] })).results
  console.log(name, (performance.now() - t) | 0, "ms", a.value, b.value, JSON.stringify(memory().devices))
}
