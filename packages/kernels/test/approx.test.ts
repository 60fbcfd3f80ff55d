import { afterAll, beforeAll, expect, test } from "vitest"
import { erfOfNumber, referenceDevice, tensor, useDevice, type Device, type Tensor } from "@thimble/core"
import { open } from "../src/index.ts"

let device: Device
beforeAll(async () => void (device = await open("wasm", { threads: 1 })))
afterAll(async () => {
  useDevice(referenceDevice())
  await device.close()
})

/** Floats of all magnitudes and both signs, what is special to any function first. */
function samples(count: number): Float32Array {
  const x = new Float32Array(new Uint32Array(count).map((_, i) => i * 4099).buffer)
  x.set([0, -0, Infinity, -Infinity, NaN, 1, -1, 88.72283, 88.72284, -87.33654, -103.97, -103.98, 1e-45, 3.4028235e38, 0.625, 0.92773, 4, 9.1])
  return x
}

/** Error in units of the last place of an f32 near `exact`. */
function ulps(got: number, exact: number): number {
  const rounded = Math.fround(exact)
  if (Object.is(got, rounded) || (Number.isNaN(got) && Number.isNaN(exact)) || got === rounded) return 0
  const last = 2 ** Math.max(-149, Math.min(127, Math.floor(Math.log2(Math.abs(exact)))) - 23)
  return Math.abs(got - exact) / last
}

const functions: Record<string, { of: (x: Tensor) => Tensor; exact: (x: number) => number; bound: number }> = {
  exp: { of: (x) => x.exp(), exact: Math.exp, bound: 1.5 },
  log: { of: (x) => x.log(), exact: Math.log, bound: 2 },
  tanh: { of: (x) => x.tanh(), exact: Math.tanh, bound: 2 },
  erf: { of: (x) => x.erf(), exact: erfOfNumber, bound: 2 },
}

for (const [name, { of, exact, bound }] of Object.entries(functions))
  test(`${name} is within ${bound} ulp of its value, for all kinds of floats`, async () => {
    const x = samples(2 ** 20)
    const y = await of(tensor(x)).data() as Float32Array
    let worst = 0, where = 0
    for (let i = 0; i < x.length; i++) {
      const error = ulps(y[i]!, exact(x[i]!))
      if (!(error <= worst)) [worst, where] = [error, i]
    }
    expect(worst, `at ${x[where]}: ${y[where]} instead of ${exact(x[where]!)}`).toBeLessThanOrEqual(bound)
  })

for (const [name, { of }] of Object.entries(functions))
  test(`${name} of a few elements has the bits of ${name} of many`, async () => {
    const x = samples(2 ** 20).filter((_, i) => i % 1013 === 0 || i < 18).subarray(0, 1050)
    const many = await of(tensor(x)).data() as Float32Array
    // Lengths below one vector, and every rest.
    for (const n of [1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 31]) expect(Array.from(await of(tensor(x.slice(40, 40 + n))).data())).toEqual(Array.from(many.subarray(40, 40 + n)))
  })
