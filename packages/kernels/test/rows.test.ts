import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { random, referenceDevice, tensor, useDevice, withDevice, type DType, type Device, type Tensor } from "@thimble/core"
import { open } from "../src/index.ts"

const reference = referenceDevice()
const devices: Device[] = []
beforeAll(async () => {
  devices.push(await open("wasm", { threads: 1 }), await open("wasm", { threads: 2 }), await open("wasm", { threads: 3 }))
})
afterAll(async () => {
  useDevice(reference)
  for (const d of devices) await d.close()
})

type Data = Float32Array
const normal = async (seed: number, n: number): Promise<Data> => withDevice(reference, () => random.normal(random.key(seed), [n]).data()) as Promise<Data>

/** The rows' functions, with a weight and a bias of as many columns. */
const functions: Record<string, (x: Tensor, weight: Tensor, bias: Tensor) => Tensor> = {
  softmax: (x) => x.softmax(),
  logSoftmax: (x) => x.logSoftmax(),
  layerNorm: (x, weight, bias) => x.layerNorm(weight, bias),
  "layerNorm without bias": (x, weight) => x.layerNorm(weight),
  "layerNorm alone": (x) => x.layerNorm(),
  rmsNorm: (x, weight) => x.rmsNorm(weight),
}
/** How the rows lie in memory; every one gives [rows, columns]. */
const layouts: Record<string, (x: Data, rows: number, columns: number) => Tensor> = {
  plain: (x, rows, columns) => tensor(x, { shape: [rows, columns] }),
  transposed: (x, rows, columns) => tensor(x, { shape: [columns, rows] }).T,
  "cast from f16": (x, rows, columns) => tensor(x, { shape: [rows, columns] }).cast("f16").cast("f32"),
  "every other, reversed": (x, rows, columns) => tensor(join(x, x), { shape: [rows, 2 * columns] }).slice([0, rows], [0, 2 * columns, 2]).flip(1),
  "one row for all": (x, rows, columns) => tensor(x.subarray(0, columns), { shape: [1, columns] }).expand([rows, columns]),
  "one column for all": (x, rows, columns) => tensor(x.subarray(0, rows), { shape: [rows, 1] }).expand([rows, columns]),
  computed: (x, rows, columns) => tensor(x, { shape: [rows, columns] }).mul(3).add(0.5).tanh(),
}
const join = (a: Data, b: Data): Data => Float32Array.from({ length: a.length + b.length }, (_, i) => (i < a.length ? a[i]! : b[i - a.length]!))

/** The law: what the expansion gives on the reference device, and the same bits on any number of threads. */
async function check(make: () => Tensor, tolerance = 4e-6, absolute = 0): Promise<void> {
  const run = (device: Device): Promise<Data> => withDevice(device, () => make().data()) as Promise<Data>
  const want = await run(reference)
  const [one, ...others] = await Promise.all(devices.map(run))
  for (const other of others) expect(other).toEqual(one)
  const scale = want.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0)
  const bad = one!.findIndex((v, i) => !(Object.is(v, want[i]) || v === want[i] || Math.abs(v - want[i]!) <= tolerance * scale + absolute))
  expect(bad < 0 ? "" : `[${bad}] ${one![bad]} instead of ${want[bad]}`).toBe("")
}

for (const [name, of] of Object.entries(functions))
  describe(name, () => {
    for (const columns of [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 100, 4096])
      test(`${columns} columns`, async () => {
        const rows = columns > 1000 ? 3 : 37
        const x = await normal(columns, rows * columns), weight = await normal(1, columns), bias = await normal(2, columns)
        await check(() => of(tensor(x, { shape: [rows, columns] }), tensor(weight), tensor(bias)))
      })
    for (const [layout, lay] of Object.entries(layouts))
      test.each([[1, 33], [5, 20], [33, 7], [40, 100]])(`${layout}, %i × %i`, async (rows, columns) => {
        const x = await normal(rows, rows * columns), weight = await normal(1, columns), bias = await normal(2, columns)
        // The difference of equal numbers from their mean is all rounding, of either sign.
        const rounding = layout === "one column for all" && name.startsWith("layer") ? 1e-3 : 0
        await check(() => of(lay(x, rows, columns), tensor(weight), tensor(bias)), 4e-6, rounding)
      })
    test("epilogues: arithmetic, another tensor, other types, results read in another shape", async () => {
      const [rows, columns] = [9, 45]
      const x = await normal(3, rows * columns), weight = await normal(1, columns), bias = await normal(2, columns), other = await normal(5, rows * columns)
      const y = (): Tensor => of(tensor(x, { shape: [rows, columns] }), tensor(weight), tensor(bias))
      await check(() => y().mul(2).add(tensor(other, { shape: [rows, columns] })).relu())
      await check(() => y().reshape([columns, rows]).add(tensor(other, { shape: [columns, rows] })))
      for (const dtype of ["f16", "i32", "bool"] as DType[]) await check(() => y().mul(3).cast(dtype).cast("f32"), 1e-3)
      await check(() => y().cast("f64").mul(1.5).cast("f32"))
      await check(() => of(tensor(x, { shape: [rows, columns] }).cast("f16"), tensor(weight).cast("f16"), tensor(bias).cast("f16")).cast("f32"), 1e-3)
    })
    test("rows of infinities, NaN and huge values give what their expansion gives, and leave the others alone", async () => {
      const columns = 21
      const rows: ((i: number) => number)[] = [
        (i) => Math.sin(i), () => -Infinity, (i) => (i === 5 ? -Infinity : i), (i) => (i === 20 ? Infinity : i), () => Infinity,
        (i) => (i === 20 ? NaN : i), (i) => (i === 0 ? NaN : -Infinity), (i) => (i === 3 ? 3e38 : -3e38), (i) => 1e30 * Math.cos(i), (i) => 1e-30 * i, () => 0, () => 7,
        (i) => (i === 17 ? -Infinity : 0), (i) => -100 * i, (i) => Math.cos(i),
      ]
      const x = Float32Array.from(rows.flatMap((row) => Array.from({ length: columns }, (_, i) => row(i))))
      const weight = await normal(1, columns), bias = await normal(2, columns)
      for (let r = 0; r < rows.length; r++)
        await check(() => of(tensor(x.slice(r * columns, (r + 1) * columns), { shape: [1, columns] }), tensor(weight), tensor(bias)), 1e-5)
      const all = await of(tensor(x, { shape: [rows.length, columns] }), tensor(weight), tensor(bias)).data()
      for (const r of [0, rows.length - 1])
        expect(all.slice(r * columns, (r + 1) * columns)).toEqual(await of(tensor(x.slice(r * columns, (r + 1) * columns), { shape: [1, columns] }), tensor(weight), tensor(bias)).data())
    })
  })

test("a row's bits do not depend on the rows around it", async () => {
  const x = await normal(9, 50 * 77)
  await withDevice(devices[1]!, async () => {
    const all = tensor(x, { shape: [50, 77] })
    const whole = await all.softmax().data(), some = await all.slice([17, 23], [0, 77]).softmax().data()
    expect(some).toEqual(whole.slice(17 * 77, 23 * 77))
  })
})

test("softmax along another axis", async () => {
  const x = await normal(11, 3 * 50 * 40)
  for (const axis of [0, 1]) await check(() => tensor(x, { shape: [3, 50, 40] }).softmax(axis))
})
