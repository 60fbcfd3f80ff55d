import { adamW, compile, denseWeight, quantizeWeight, randn, valueAndGrad, type AdamState, type Tensor } from "@thimble/core"
import { int } from "@thimble/compress"
import { open } from "@thimble/kernels"

await open("wasm")                                             // SIMD and threads; nothing to install or build
const x = randn([256, 64], { seed: 1 }), y = x.sum({ axis: 1, keepDims: true }).sin()
const optimizer = adamW({ rate: 0.01 })
type Parameters = { w: Tensor; v: Tensor }
const loss = valueAndGrad(({ w, v }: Parameters) => x.linear(w).gelu().linear(v).sub(y).square().mean())
const step = compile((parameters: Parameters, state: AdamState) => { // captured once, replayed
  const { value, grads } = loss(parameters)
  return { ...optimizer.update(parameters, grads, state), value }
}, { donate: [0, 1] })

let parameters = { w: randn([96, 64], { seed: 2 }).mul(0.1), v: randn([1, 96], { seed: 3 }).mul(0.1) }
let state = optimizer.init(parameters)
for (let i = 0; i < 200; i++) ({ parameters, state } = await step(parameters, state))

const small = quantizeWeight(int(4, { group: 32 }), (await parameters.w.data()) as Float32Array, [96, 64])
const outputs = [denseWeight(parameters.w), small].map((w) => w.apply(x).gelu().linear(parameters.v))
console.log(`${parameters.w.bytes} → ${small.bytes} bytes, error ${await outputs[0].sub(outputs[1]).square().mean().item()}`)
