import { afterAll, beforeAll, expect, test } from "vitest"
import { denseWeight, quantizeWeight, realize, random, referenceDevice, tensor, useDevice, type Device, type Format } from "@thimble/core"
import { codebook, int, mx } from "../../compress/src/index.ts"
import { ggml } from "../../formats/src/ggml/index.ts"
import { open } from "../src/index.ts"

let device: Device
beforeAll(async () => void (device = await open("wasm", { threads: 2 })))
afterAll(async () => {
  useDevice(referenceDevice())
  await device.close()
})

const { Q4_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS, TQ1_0, MXFP4 } = ggml
const formats: readonly (readonly [Format, number])[] = [
  ...[Q4_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS, TQ1_0, MXFP4].map((f) => [f, 768] as const),
  // Groups that end within a run of quads, and rows that do.
  [int(4, { group: 16 }), 160], [int(3, { group: 20 }), 100], [int(4, { group: 64 }), 320], [int(8), 72], [Q4_0, 96],
  // Runs of 32 with scales and zero points of their halves, of themselves, of two runs, of rows, and in other types.
  [int(8, { group: 16, range: "asymmetric" }), 160], [int(4, { group: 32, range: "asymmetric" }), 96], [int(8, { group: 64, range: "asymmetric" }), 320], [int(8), 320], [int(4), 96], [int(5, { scales: "bf16" }), 64], [int(8, { group: 32, scales: "f32" }), 64],
  // Codes that a table too large for a vector spells.
  [mx("e5m2"), 64], [codebook(4, { group: 256 }), 256],
]

for (const [format, k] of formats)
  for (const m of [1, 40])
    test(`${format.name}, ${m} rows of ${k}: products that read stored weights are those with decoded ones`, async () => {
      const n = 70, w = (await random.normal(random.key(k), [n * k]).data()) as Float32Array
      const x = tensor((await random.normal(random.key(m), [m * k]).data()) as Float32Array, { shape: [m, k] })
      const stored = quantizeWeight(format, w, [n, k]), dense = stored.dense()
      await realize(dense)
      // Sums may be taken in another order.
      const want = (await denseWeight(dense).apply(x).data()) as Float32Array, scale = Math.max(...want.map(Math.abs))
      const got = (await stored.apply(x).data()) as Float32Array
      expect(Math.max(...got.map((y, i) => Math.abs(y - want[i]!)))).toBeLessThanOrEqual(1e-6 * scale)
    })
