import { describe, expect, test } from "vitest"
import { int } from "../../compress/src/index.ts"
import { ggml } from "../../formats/src/ggml/index.ts"
import { compile, layerNorm, quantizeWeight, rmsNorm, silu, tensor, withDevice, type Format, type Tensor } from "@thimble/core"
import { check, gpu, normal, withGpu } from "./wgsl.ts"

const formats = { "int8, per row": int(8), "int8, groups of 64": int(8, { group: 64 }), "int4, groups of 32": int(4, { group: 32 }), "int4 with zeros": int(4, { group: 32, range: "asymmetric" }), Q4_K: ggml.Q4_K, Q6_K: ggml.Q6_K }
const sizes = [[1, 5, 256], [2, 33, 768], [3, 17, 512], [8, 9, 256]] as const

/** The kernels that the device is given for it. */
async function kernelsOf(make: () => Tensor): Promise<string[]> {
  const program = withDevice(gpu(), () => compile(make)), y = await withDevice(gpu(), () => program())
  y.dispose()
  return program.show().split("\n").flatMap((line) => /= (\w+) \[/.exec(line)?.[1] ?? [])
}

/** Of rows that have infinities or NaN no result is a number, and all others are as they were. */
function keepsWhatIsNotFinite(): void {
  test.each([1, 3])("activations that are not finite, %i rows", async (m) => {
    const [n, k] = [17, 512], w = await normal(n, n * k)
    for (const value of [NaN, Infinity, -Infinity]) {
      const x = await normal(m, m * k)
      x[(m - 1) * k + 37] = value
      const got = await check(() => quantizeWeight(formats["int4, groups of 32"], w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] })), 1e-5)
      expect(got.every((y, i) => Number.isNaN(y) === i >= (m - 1) * n)).toBe(true)
    }
  })
}

/** What makes rows normal is part of the products that read them. */
function normalizes(): void {
  const norms = {
    rmsNorm: (x, w) => rmsNorm(x, w, { eps: 1e-5 }), "rmsNorm without a weight": (x) => rmsNorm(x),
    layerNorm: (x, w, b) => layerNorm(x, w, b), "layerNorm without a bias": (x, w) => layerNorm(x, w),
  } satisfies Record<string, (x: Tensor, w: Tensor, b: Tensor) => Tensor>
  const cases = [
    ["rmsNorm", 1, 5, 256, "int4, groups of 32"], ["rmsNorm", 3, 17, 512, "int8, per row"], ["rmsNorm", 8, 9, 256, "Q6_K"], ["rmsNorm", 8, 3, 8192, "int8, per row"],
    ["rmsNorm without a weight", 2, 33, 96, "int4, groups of 32"], ["layerNorm", 1, 6, 4096, "int4 with zeros"], ["layerNorm", 8, 3, 8192, "int8, per row"], ["layerNorm without a bias", 2, 7, 256, "Q4_K"],
  ] as const
  for (const [name, m, n, k, format] of cases)
    test(`${name}, [${m}, ${k}] × [${n}, ${k}]ᵀ in ${format}`, async () => {
      const data = { w: await normal(n, n * k), x: await normal(m, m * k), scale: await normal(3, k), shift: await normal(4, k) }
      const make = (): Tensor => {
        const x = tensor(data.x, { shape: [m, k] }), scale = tensor(data.scale), shift = tensor(data.shift)
        return quantizeWeight(formats[format], data.w, [n, k], { activations: "int8" }).apply(norms[name](x, scale, shift)).relu()
      }
      await check(make, 1e-4)
      expect(await kernelsOf(make)).toEqual([`${name.split(" ")[0]}QuantizedMatmul`])
    })
  test("unless somebody else has them computed", async () => {
    const w = await normal(1, 8 * 64), x = await normal(2, 64)
    const make = (): Tensor => {
      const y = rmsNorm(tensor(x, { shape: [1, 64] }))
      return quantizeWeight(int(8), w, [8, 64], { activations: "int8" }).apply(y).sum().add(y)
    }
    await check(make, 1e-4)
  })
}

describe("workgroups round what they read, as on GPUs", () => {
  withGpu({ features: { software: false } })
  keepsWhatIsNotFinite()

  for (const [name, format] of Object.entries(formats))
    describe(name, () => {
      for (const [m, n, k] of sizes)
        test(`[${m}, ${k}] × [${n}, ${k}]ᵀ on integers is what its expansion says`, async () => {
          const w = await normal(n, n * k), x = await normal(m, m * k)
          await check(() => quantizeWeight(format, w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] })), 1e-5)
        })
      test("activations that are computed, rows of zeros", async () => {
        const [m, n, k] = [2, 20, 256], w = await normal(7, n * k), x = await normal(8, m * k)
        await check(() => quantizeWeight(format, w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] }).silu().mul(tensor([[0], [1]]))).add(1), 1e-5)
      })
    })

  // Many rows, many terms, and more activations than workgroup memory holds.
  for (const [m, n, k] of [[1, 4100, 64], [1, 9, 4096], [8, 5, 8192]] as const)
    test(`[${m}, ${k}] × [${n}, ${k}]ᵀ`, async () => {
      const w = await normal(n, n * k), x = await normal(m, m * k)
      await check(() => quantizeWeight(int(4, { group: 32 }), w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] })), 1e-5)
    })

  describe("rows that are normalized are rounded where they are read", normalizes)

  describe("two products of one operand that meet in arithmetic are one kernel", () => {
    const gated = async (format: Format, [m, n, k]: readonly [number, number, number], { normed = false, other = format } = {}): Promise<() => Tensor> => {
      const data = { gate: await normal(n, n * k), up: await normal(n + 1, n * k), x: await normal(m, m * k) }
      return () => {
        const x = tensor(data.x, { shape: [m, k] }), read = normed ? rmsNorm(x) : x
        const [gate, up] = ([[format, data.gate], [other, data.up]] as const).map(([f, w]) => quantizeWeight(f, w, [n, k], { activations: "int8" }).apply(read)) as [Tensor, Tensor]
        return silu(gate).mul(up)
      }
    }
    const cases = [
      ["int8, per row", [1, 96, 256], true], ["int4, groups of 32", [2, 33, 256], false], ["int4 with zeros", [7, 20, 128], true], ["Q4_K", [1, 33, 256], false], ["Q6_K", [2, 12, 256], true],
    ] as const
    for (const [name, size, normed] of cases)
      test(`${name}${normed ? ", normalized rows" : ""}, [${size[0]}, ${size[2]}] × two of [${size[1]}, ${size[2]}]ᵀ`, async () => {
        const make = await gated(formats[name], size, { normed })
        await check(make, 1e-4)
        expect(await kernelsOf(make)).toEqual([normed ? "rmsNormQuantizedMatmul" : "quantizedMatmul"])
      })
    test("of many rows, and what they become is read by a third", async () => {
      const make = await gated(int(4, { group: 32 }), [1, 4128, 32], { normed: true }), down = await normal(9, 3 * 4128)
      const fed = (): Tensor => quantizeWeight(int(4, { group: 32 }), down, [3, 4128], { activations: "int8" }).apply(make())
      await check(fed, 1e-4)
      expect(await kernelsOf(fed)).toEqual(["rmsNormQuantizedMatmul", "quantizedMatmul"])
    })
    test("not those of other codes, nor of other operands", async () => {
      const make = await gated(int(4, { group: 32 }), [1, 40, 64], { other: int(8, { group: 32 }) })
      await check(make, 1e-4)
      expect((await kernelsOf(make)).length).toBe(2)
      const one = await normal(1, 64), two = await normal(2, 64), w = await normal(3, 40 * 64)
      const apart = (): Tensor => {
        const weight = quantizeWeight(int(8), w, [40, 64], { activations: "int8" })
        return weight.apply(tensor(one, { shape: [1, 64] })).mul(weight.apply(tensor(two, { shape: [1, 64] })))
      }
      await check(apart, 1e-4)
      expect((await kernelsOf(apart)).length).toBe(2)
    })
  })
})

describe("a pass of its own rounds, as on software", () => {
  withGpu({ features: { software: true } })

  for (const [name, format] of Object.entries(formats))
    test(name, async () => {
      const [m, n, k] = [3, 17, 512], w = await normal(n, n * k), x = await normal(m, m * k)
      await check(() => quantizeWeight(format, w, [n, k], { activations: "int8" }).apply(tensor(x, { shape: [m, k] })), 1e-5)
    })
  describe("rows that are normalized", normalizes)
  keepsWhatIsNotFinite()
})
