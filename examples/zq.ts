import { compile, quantizeWeight, random, tensor, realize } from "@thimble/core"
import * as c from "@thimble/compress"
import { open } from "@thimble/kernels"
const d = await open("wasm", { threads: 1 })
const [n, k] = [2048, 2048]
const w = await random.normal(random.key(0), [n, k]).data() as Float32Array
const x = tensor(await random.normal(random.key(1), [1, k]).data(), { shape: [1, k] })
await realize(x)
for (const name of (process.argv[2] ?? "Q4_0,Q4_1,Q5_0,Q8_0,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS,TQ2_0,MXFP4").split(",")) {
  const format = (c as any).ggml[name]
  const weight = quantizeWeight(format, w, [n, k], { activations: "int8" })
  const f = compile((x: any) => Array.from({ length: 10 }, (_, i) => weight.apply(x.add(i))))
  for (let i = 0; i < 60; i++) for (const y of await f(x) as any[]) y.dispose()
  let best = 1e9
  const run0 = (d as any).run
  ;(d as any).run = (c: any) => { const t = performance.now(); run0(c); best = Math.min(best, performance.now() - t) }
  for (let i = 0; i < 60; i++) for (const y of await f(x) as any[]) y.dispose()
  ;(d as any).run = run0
  console.log(name, (best / 10 * 1000).toFixed(1), "us", (weight.bytes / (best / 10) / 1e6).toFixed(1), "GB/s", weight.bytes)
}
await d.close()
