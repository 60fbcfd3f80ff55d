import { describe, test } from "vitest"
import { tensor, type DType, type Tensor } from "@thimble/core"
import { check, normal, withGpu, type Data } from "./wgsl.ts"

withGpu()

/** The rows' functions, with a weight and a bias of as many columns. */
const functions: Record<string, (x: Tensor, weight: Tensor, bias: Tensor) => Tensor> = {
  softmax: (x) => x.softmax(),
  logSoftmax: (x) => x.logSoftmax(),
  layerNorm: (x, weight, bias) => x.layerNorm(weight, bias),
  "layerNorm alone": (x) => x.layerNorm(),
  rmsNorm: (x, weight) => x.rmsNorm(weight),
}
/** How the rows lie in memory; every one gives [rows, columns]. */
const layouts: Record<string, (x: Data, rows: number, columns: number) => Tensor> = {
  transposed: (x, rows, columns) => tensor(x, { shape: [columns, rows] }).T,
  "one row for all": (x, rows, columns) => tensor(x.subarray(0, columns), { shape: [1, columns] }).expand([rows, columns]),
  computed: (x, rows, columns) => tensor(x, { shape: [rows, columns] }).mul(3).add(0.5).tanh(),
}

for (const [name, of] of Object.entries(functions))
  describe(name, () => {
    // Rows kept by a few threads, by a workgroup, and those read again.
    for (const columns of [1, 3, 4, 7, 33, 100, 256, 257, 1100, 9001])
      test(`${columns} columns`, async () => {
        const rows = columns > 1000 ? 3 : 11
        const x = await normal(columns, rows * columns), weight = await normal(1, columns), bias = await normal(2, columns)
        await check(() => of(tensor(x, { shape: [rows, columns] }), tensor(weight), tensor(bias)))
      })
    for (const [layout, lay] of Object.entries(layouts))
      test(layout, async () => {
        const [rows, columns] = [13, 45]
        const x = await normal(rows, rows * columns), weight = await normal(1, columns), bias = await normal(2, columns)
        await check(() => of(lay(x, rows, columns), tensor(weight), tensor(bias)))
      })
    test("epilogues: arithmetic, another tensor, other types", async () => {
      const [rows, columns] = [9, 45]
      const x = await normal(3, rows * columns), weight = await normal(1, columns), bias = await normal(2, columns), other = await normal(5, rows * columns)
      const y = (): Tensor => of(tensor(x, { shape: [rows, columns] }), tensor(weight), tensor(bias))
      await check(() => y().mul(2).add(tensor(other, { shape: [rows, columns] })).relu())
      for (const dtype of ["f16", "i32"] as DType[]) await check(() => y().mul(3).cast(dtype).cast("f32"), 1e-3)
    })
    test("rows of infinities, NaN and large values give what their expansion gives, and leave the others alone", async () => {
      const columns = 21
      const rows: ((i: number) => number)[] = [
        (i) => Math.sin(i), () => -Infinity, (i) => (i === 5 ? -Infinity : i), (i) => (i === 20 ? Infinity : i), () => Infinity,
        (i) => (i === 20 ? NaN : i), (i) => (i === 0 ? NaN : -Infinity), () => 0, () => 7, (i) => (i === 17 ? -Infinity : 0), (i) => -100 * i, (i) => Math.cos(i),
      ]
      const x = Float32Array.from(rows.flatMap((row) => Array.from({ length: columns }, (_, i) => row(i))))
      const weight = await normal(1, columns), bias = await normal(2, columns)
      await check(() => of(tensor(x, { shape: [rows.length, columns] }), tensor(weight), tensor(bias)), 1e-5)
    })
  })
