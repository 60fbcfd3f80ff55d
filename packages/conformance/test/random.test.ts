import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { compile, currentDevice, dropout, random, referenceDevice, tensor, useDevice, type Device, type Tensor } from "@thimble/core"
import { devices } from "../src/devices.ts"

const { bernoulli, bits, categorical, foldIn, gumbel, key, normal, permutation, randint, split, truncatedNormal, uniform } = random
const n = 3001

/** Integers and fractions of 2ᵏ: the same to the last bit. */
const exact: Readonly<Record<string, () => Tensor>> = {
  "bits": () => bits(key(1), [7, n]),
  "key of a negative seed": () => key(-12345678901),
  "split": () => bits(split(key(2), 3)[2]!, [5]),
  "foldIn": () => foldIn(key(3), 0xfedcba98),
  "key of a tensor": () => key(tensor(-9, { dtype: "i32" })),
  "uniform": () => uniform(key(4), [n]),
  "uniform f16": () => uniform(key(4), [n], { dtype: "f16" }),
  "uniform bf16": () => uniform(key(4), [n], { dtype: "bf16" }),
  "uniform of a power of two": () => uniform(key(4), [n], { low: -1, high: 1 }),
  "randint": () => randint(key(5), [n], { low: -7, high: 1000003 }),
  "randint u32": () => randint(key(5), [n], { high: 2 ** 32, dtype: "u32" }),
  "randint i8": () => randint(key(5), [n], { low: -128, high: 127, dtype: "i8" }),
  "bernoulli": () => bernoulli(key(6), [n], 0.3),
  "permutation": () => permutation(key(7), n),
  "dropout": () => dropout(tensor(new Float32Array(n).fill(1)), 0.5, key(8)),
  "categorical": () => categorical(key(12), tensor([0, 1, 2, -1, 3, 0.5, -Infinity, 2])),
}
/** Values of log and sqrt: |x − y| ≤ 4e-6·max(1, |y|). */
const near: Readonly<Record<string, () => Tensor>> = {
  "normal": () => normal(key(9), [n]),
  "normal with mean and deviation": () => normal(key(9), [n], { mean: 0.5, std: 0.25 }),
  "truncatedNormal": () => truncatedNormal(key(10), [n], { low: -1.5, high: 3 }),
  "truncatedNormal in a tail": () => truncatedNormal(key(10), [n], { low: 6, high: 9 }),
  "uniform of any interval": () => uniform(key(4), [n], { low: -0.3, high: 0.7 }),
  "gumbel": () => gumbel(key(11), [n]),
}

describe.each(devices.slice(1))("random numbers of $name are those of the reference device", ({ open }) => {
  const outer = currentDevice(), reference = referenceDevice()
  let device: Device
  beforeAll(async () => void (device = await open()))
  afterAll(async () => {
    useDevice(outer)
    await device.close()
  })
  const both = async (make: () => Tensor): Promise<[number[], number[]]> => {
    const of = async (d: Device): Promise<number[]> => {
      useDevice(d)
      return [...(await make().data())]
    }
    return [await of(device), await of(reference)]
  }
  test.each(Object.keys(exact))("%s: exactly", async (name) => {
    const [got, want] = await both(exact[name]!)
    expect(got).toEqual(want)
  })
  test.each(Object.keys(near))("%s: within 4e-6", async (name) => {
    const [got, want] = await both(near[name]!)
    expect(Math.max(...got.map((x, i) => Math.abs(x - want[i]!) / Math.max(1, Math.abs(want[i]!))))).toBeLessThan(4e-6)
  })
  test("a compiled function draws the same under a key that is an argument", async () => {
    const draw = (): Tensor => bits(foldIn(key(1), 5n), [n])
    const [plain] = await both(draw)
    useDevice(device)
    const compiled = compile<[Tensor, bigint], Tensor>((k, step) => bits(foldIn(k, step), [n]))
    expect([...(await (await compiled(key(1), 5n)).data())]).toEqual(plain)
  })
})
