import { open } from "@thimble/kernels"
import { loadModel, evaluate, perplexity, klDivergence } from "@thimble/models"
import { plan, quantize, rtn, int, awq, calibration, gptq, hqq, mse } from "@thimble/compress"
import { memory } from "@thimble/core"
import { joined, prose } from "./train/text.ts"
await open("wasm")
const model = await loadModel("models/demo")
const all = await prose()
const data = await calibration(model.tokenizer!, joined(all.training).slice(0, 2000000), { samples: 32, length: 256 })
const held = joined(all.heldOut).slice(0, 60000)
const base = (await evaluate(model, { metrics: [perplexity(held)] })).results[0]
console.log("base", base.value)
const f3 = int(3, { group: 64, range: "asymmetric" }), f2 = int(2, { group: 64, range: "asymmetric" })
for (const [name, method] of [["rtn3", rtn(f3)], ["hqq3", hqq({ bits: 3 })], ["gptq3", gptq({ format: f3 })], ["gptq3 act", gptq({ format: f3, order: "activity" })], ["rtn2", rtn(f2)], ["rtn2 mse", rtn(int(2, { group: 64, range: "asymmetric", ends: mse() }))], ["awq2", awq({ format: f2 })], ["gptq2", gptq({ format: f2 })], ["gptq2 act mse", gptq({ format: int(2, { group: 64, range: "asymmetric", ends: mse() }), order: "activity" })]] as const) {
  const p = plan(model, quantize({ default: method }))
  
  const t = performance.now()
  const { model: small, report } = await p.run(data, {}).result
  if (name === "gptq3") console.log(String(report))
  const [a, b] = (await evaluate(small, { reference: model, metrics: [perplexity(held), klDivergence(held)] })).results
  console.log(name, (performance.now() - t) | 0, "ms", a.value, b.value, JSON.stringify(memory().devices))
}
