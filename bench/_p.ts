import { gptqOnDevice, hessianOnDevice } from "../packages/compress/src/index.ts"
import { realize, tensor } from "../packages/core/src/index.ts"
import { open } from "../packages/kernels/src/index.ts"
import { fill } from "../packages/compress/src/laws/values.ts"
const rows = 4096, columns = 4096, tokens = 2048
const w = fill("gaussian", 1, [rows, columns]), x = fill("gaussian", 2, [tokens, columns])
const device = await open("wasm")
const inputs = tensor(x, { shape: [tokens, columns] })
for (let i = 0; i < Number(process.argv[2] ?? 2); i++) {
  const b = performance.now(), sum = hessianOnDevice(columns)
  await sum.add(inputs)
  const h = await sum.matrix(); sum.dispose()
  const m = performance.now()
  const found = await gptqOnDevice(w, [rows, columns], h, { bits: 4, group: 128 })
  console.log((m - b).toFixed(0), (performance.now() - m).toFixed(0)); h.dispose()
}
await device.close()
