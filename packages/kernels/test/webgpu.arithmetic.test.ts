import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { add, currentDevice, div, mul, sqrt, tensor, useDevice } from "@thimble/core"
import { devices } from "../src/index.ts"
import { webgpuDevice, type WebgpuDevice } from "../src/webgpu/device.ts"

const found = (await devices()).find((d) => d.name === "webgpu")!
const here = found.available || process.env.CI !== undefined
if (!here && !found.available) test.skip(`webgpu: ${found.reason}`, () => {})

/** Floats of all sizes, subnormal ones included, and what is special. */
function samples(count: number, step: number): Float32Array<ArrayBuffer> {
  const x = new Float32Array(Uint32Array.from({ length: count }, (_, i) => Math.imul(i + 1, step)).buffer)
  x.set([0, -0, Infinity, -Infinity, NaN, 1, -1, 2, 4, 0.25, 1 + 2 ** -23, 2 - 2 ** -23, 3.4028235e38, 2 ** -126])
  return x
}
const isNormal = (v: number): boolean => !(Math.abs(v) > 0 && Math.abs(v) < 2 ** -126)

/** Whether the driver's `fma` rounds once; another one cannot be asked for quotients by it. */
async function fuses(): Promise<boolean> {
  const device = await webgpuDevice(), { fuses } = device.features.numbers
  await device.close()
  return fuses
}
const ways = here ? [false, ...((await fuses()) ? [true] : [])] : []
describe.each(ways)("where the driver's arithmetic only comes near, it is spelled out: rounded correctly (by fused multiplications: %s)", (fuses) => {
  const outer = currentDevice()
  let device: WebgpuDevice
  beforeAll(async () => void useDevice((device = await webgpuDevice({ features: { numbers: { exactDivision: false, exactRoot: false, contracts: true, fuses, exactHalves: false } } }))))
  afterAll(async () => {
    useDevice(outer)
    await device.close()
  })
  const wrong = (got: ArrayLike<number>, want: (i: number) => number, counts: (i: number) => boolean = () => true): string[] =>
    Array.from({ length: got.length }, (_, i) => i).filter((i) => counts(i) && !Object.is(got[i], want(i))).slice(0, 5).map((i) => `[${i}] ${got[i]} instead of ${want(i)}`)

  test("quotients, those below the normal numbers included", async () => {
    const n = 1 << 16, a = samples(n, 0x9e3779b1), b = samples(n, 0x85ebca6b).reverse()
    // The last few of b are small multiples of a: ties, and quotients that are exact.
    a.forEach((v, i) => { if (i % 5 === 0) b[i] = v * (1 + (i % 7)) })
    // Most exponents lie far from the ends, as they do where numbers are computed with.
    const word = (of: Float32Array<ArrayBuffer>): Uint32Array => new Uint32Array(of.buffer)
    for (const of of [word(a), word(b)]) of.forEach((bits, i) => { if (i % 2 === 1) of[i] = (bits & 0x807fffff) | ((80 + ((bits >>> 23) % 95)) << 23) })
    expect(wrong(await div(tensor(a), tensor(b)).data(), (i) => Math.fround(a[i]! / b[i]!), (i) => isNormal(a[i]!) && isNormal(b[i]!))).toEqual([])
  })
  test("roots", async () => {
    const x = samples(1 << 16, 0x9e3779b1).map((v, i) => (i % 3 === 0 ? v : i % 3 === 1 ? Math.abs(v) : Math.fround(i * i)))
    // Mesa's llvmpipe (26.2) gives subnormal operands back once the function stands behind a bound of the thread's number, even one that holds for all.
    const unlessWronged = (i: number): boolean => isNormal(x[i]!) || !device.adapter.includes("llvmpipe")
    expect(wrong(await sqrt(tensor(x)).data(), (i) => Math.fround(Math.sqrt(x[i]!)), unlessWronged)).toEqual([])
  })
  test("a product is rounded before it is added to something", async () => {
    const x = samples(4096, 0x9e3779b1).map((v) => (Math.abs(v) < 1e18 && Math.abs(v) > 1e-17 ? v : 1.1)), y = x.map((v, i) => Math.fround(v * (1 + i / 4096)))
    const product = x.map((v, i) => v * y[i]!)
    expect(wrong(await add(mul(tensor(x), tensor(y)), tensor(product.map((v) => -v))).data(), () => 0)).toEqual([])
  })
})
