import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { f16Value, tensor, useDevice, withDevice, type Tensor } from "@thimble/core"
import { webgpuDevice, type WebgpuDevice } from "../src/webgpu/device.ts"
import { gpu, withGpu } from "./wgsl.ts"

withGpu()

/** Whole numbers: sums and products of them are exact in any order. */
const whole = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 23) - 11)
type Join = (a: number, b: number) => number
const sum: Join = (a, b) => a + b, product: Join = (a, b) => a * b, most: Join = (a, b) => Math.max(a, b), least: Join = (a, b) => Math.min(a, b)

describe.each(["as the adapter has them", "none"])("subgroups: %s", (kind) => {
  let device: WebgpuDevice | undefined
  beforeAll(async () => void (device = gpu() === undefined || kind !== "none" ? gpu() : await webgpuDevice({ features: { subgroup: undefined } })))
  afterAll(() => (device === gpu() ? undefined : device?.close()))

  // Rows, columns: one thread, a few threads, a workgroup to a result; results that fill no last workgroup; two passes.
  describe.each([[5, 60], [2051, 68], [7, 1000], [3, 20_003]] as const)("[%i, %i]", (rows, columns) => {
    const n = rows * columns
    /** The law: along either axis, what a loop gives. */
    const along = async (of: (x: Tensor, axis: number) => Tensor, data: Float32Array, { join, from = (v) => v }: { readonly join: Join; readonly from?: (v: number) => number }): Promise<void> => {
      for (const axis of [0, 1]) {
        const want: number[] = new Array(axis === 0 ? columns : rows)
        data.forEach((value, i) => {
          const at = axis === 0 ? i % columns : Math.floor(i / columns)
          want[at] = i < (axis === 0 ? columns : 1) || (axis === 1 && i % columns === 0) ? from(value) : join(want[at]!, from(value))
        })
        const got = await withDevice(device!, () => of(tensor(data, { shape: [rows, columns] }), axis).cast("f32").data())
        const bad = want.findIndex((w, i) => w !== got[i] && !(Number.isNaN(w) && Number.isNaN(got[i]!)))
        expect(bad < 0 ? "" : `axis ${axis}, [${bad}]: ${got[bad]} instead of ${want[bad]}`).toBe("")
        expect(got.length).toBe(want.length)
      }
    }
    test("sums and extremes", async () => {
      await along((x, axis) => x.sum({ axis }), whole(n), { join: sum })
      await along((x, axis) => x.cast("i32").sum({ axis }), whole(n), { join: sum })
      await along((x, axis) => x.amax({ axis }), whole(n), { join: most })
      await along((x, axis) => x.cast("i32").amin({ axis }), whole(n), { join: least })
    })
    test("products and truths", async () => {
      await along((x, axis) => x.prod({ axis }), whole(n).map((v) => (v > 10 ? -1 : 1)), { join: product })
      await along((x, axis) => x.gt(-11).all({ axis }), whole(n), { join: least, from: (v) => Number(v > -11) })
      await along((x, axis) => x.gt(11).any({ axis }), whole(n), { join: most, from: () => 0 })
      await along((x, axis) => x.lt(-10).any({ axis }), whole(n), { join: most, from: (v) => Number(v < -10) })
    })
    test("extremes of infinities; NaN wins, of either sign", async () => {
      const data = whole(n), bits = new Uint32Array(data.buffer)
      for (let i = 0; i < n; i += 97) data[i] = (i / 97) % 2 === 0 ? -Infinity : Infinity
      await along((x, axis) => x.amax({ axis }), data, { join: most })
      await along((x, axis) => x.amin({ axis }), data, { join: least })
      for (let i = 50; i < n; i += 997) bits[i] = i % 2 === 0 ? 0x7fc00000 : 0xffc00000
      await along((x, axis) => x.amax({ axis }), data, { join: most })
      await along((x, axis) => x.amin({ axis }), data, { join: least })
      await along((x, axis) => x.amax({ axis }), new Float32Array(n).fill(-Infinity), { join: most })
    })
  })
})

test("every f16 is read exactly, wherever it lies, and rounded to itself", async () => {
  const bits = Uint16Array.from({ length: 1 << 16 }, (_, i) => i), values = Array.from(bits, (b) => f16Value(b))
  const turned = Int32Array.from(bits, (i) => (i * 40503) & 0xffff)
  useDevice(gpu())
  const x = tensor(bits, { dtype: "f16" })
  expect(Array.from(await x.cast("f32").data())).toEqual(values)
  expect(Array.from(await x.take(tensor(turned)).cast("f32").data())).toEqual(Array.from(turned, (i) => values[i]))
  expect(Array.from(await x.cast("f32").cast("f16").cast("f32").data())).toEqual(values)
})

test("a value less or over itself is what it is of infinities, NaN and zeros", async () => {
  const x = Float32Array.of(1, -2.5, 0, -0, Infinity, -Infinity, NaN)
  useDevice(gpu())
  expect(Array.from(await tensor(x).sub(tensor(x)).data())).toEqual(Array.from(x, (v) => v - v))
  const t = tensor(x)
  expect(Array.from(await t.sub(t).data())).toEqual(Array.from(x, (v) => v - v))
  expect(Array.from(await t.div(t).data())).toEqual(Array.from(x, (v) => v / v))
})
