import { compile, quantizeWeight, type Weight } from "@thimble/core"
import { expect, test } from "vitest"
import { fp, int } from "../src/index.ts"

// Both store codes and scales in parts of equal names, shapes and dtypes; only their decode expressions differ.
test("a compiled function captures weights of different formats apart, though their parts look the same", async () => {
  const values = Float32Array.from({ length: 64 }, (_, i) => i / 64 - 0.5)
  const read = compile((w: Weight) => w.dense())
  for (const format of [int(4, { group: 32, scales: "f32" }), fp("e2m1", { group: 32 })]) {
    const w = quantizeWeight(format, values, [2, 32])
    expect([...(await (await read(w)).data())]).toEqual([...(await w.dense().data())])
  }
  expect(read.programs).toBe(2)
})
