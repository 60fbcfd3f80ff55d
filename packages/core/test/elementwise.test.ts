import { describe, expect, test } from "vitest"
import {
  abs, acos, acosh, add, asin, asinh, atan, atan2, atanh, bitwiseNot, celu, clamp, cos, cosh, elu, erf, exp, expm1, explain, floorDivide, fmod, gelu, geluTanh, grad,
  hardsigmoid, hardswish, hardtanh, isFinite, isInf, isNaN, leakyRelu, leftShift, lerp, log, log10, log1p, log2, logicalAnd, logicalNot, logicalOr, logicalXor, logSigmoid, lt,
  maximum, minimum, mish, mul, neg, pow, reciprocal, relu, relu6, remainder, rightShift, round, rsqrt, selu, sigmoid, sign, silu, sin, sinh, softplus, softsign, sqrt,
  square, sum, tan, tanh, tensor, truncDivide, type DType, type Tensor,
} from "../src/index.ts"

type Unary = (x: Tensor) => Tensor
const everywhere = [-12.5, -3.2, -1.1, -0.4, -1e-3, 2e-3, 0.3, 0.9, 1.7, 4.4, 13]
const positive = [1e-3, 0.2, 0.9, 1.5, 7, 300]
const inside = [-0.97, -0.6, -0.2, -1e-3, 0.1, 0.55, 0.9]

/** Every smooth function with points where it is smooth. */
const smooth: Record<string, readonly [Unary, readonly number[]]> = {
  neg: [neg, everywhere], square: [square, everywhere], reciprocal: [reciprocal, everywhere], abs: [abs, everywhere], sign: [sign, everywhere],
  exp: [exp, everywhere], expm1: [expm1, everywhere], log: [log, positive], log1p: [log1p, [...positive, -0.5, -0.2]], log2: [log2, positive], log10: [log10, positive],
  sqrt: [sqrt, positive], rsqrt: [rsqrt, positive], erf: [erf, everywhere],
  sin: [sin, everywhere], cos: [cos, everywhere], tan: [tan, everywhere], asin: [asin, inside], acos: [acos, inside], atan: [atan, everywhere],
  sinh: [sinh, everywhere], cosh: [cosh, everywhere], tanh: [tanh, everywhere], asinh: [asinh, everywhere], acosh: [acosh, [1.1, 1.5, 3, 40]], atanh: [atanh, inside],
  relu: [relu, everywhere], relu6: [relu6, everywhere], leakyRelu: [leakyRelu, everywhere], elu: [elu, everywhere], selu: [selu, everywhere],
  "celu 0.7": [(x) => celu(x, 0.7), everywhere], "elu 1.5": [(x) => elu(x, 1.5), everywhere], "leakyRelu 0.2": [(x) => leakyRelu(x, 0.2), everywhere],
  hardtanh: [hardtanh, everywhere], hardsigmoid: [hardsigmoid, everywhere], hardswish: [hardswish, everywhere],
  sigmoid: [sigmoid, everywhere], logSigmoid: [logSigmoid, everywhere], softsign: [softsign, everywhere],
  softplus: [softplus, everywhere], "softplus 3": [(x) => softplus(x, { beta: 3 }), everywhere],
  silu: [silu, everywhere], gelu: [gelu, everywhere], geluTanh: [geluTanh, everywhere], mish: [mish, everywhere],
  "pow 3": [(x) => pow(x, 3), everywhere], "pow 2.5": [(x) => pow(x, 2.5), positive], "pow -1": [(x) => pow(x, -1), everywhere], "2 to the": [(x) => pow(2, x), everywhere],
}
const f64 = (values: readonly number[]): Tensor => tensor([...values], { dtype: "f64" })
const slope = (f: Unary, x: Tensor): Tensor => grad(sum(f(x)), [x])[0]!

describe("derivatives", () => {
  test.each(Object.entries(smooth))("%s: first and second agree with differences in f64", async (_name, [f, points]) => {
    for (const g of [f, (x: Tensor) => slope(f, x)]) {
      const exact = await slope(g, f64(points)).data()
      const h = points.map((x) => 1e-6 * Math.max(Math.abs(x), 0.01))
      const up = await g(f64(points.map((x, i) => x + h[i]!))).data(), down = await g(f64(points.map((x, i) => x - h[i]!))).data()
      points.forEach((_, i) => {
        const want = (up[i]! - down[i]!) / (2 * h[i]!)
        // Differences lose half of the digits to rounding.
        const noise = (Math.abs(up[i]!) + Math.abs(down[i]!)) * 1e-15 / h[i]!
        expect(Math.abs(exact[i]! - want)).toBeLessThanOrEqual(1e-7 * Math.abs(want) + noise + 1e-9)
      })
    }
  })

  test("stay finite however large the operand", async () => {
    const x = tensor([-3e38, -1e30, -1e10, -1e4, -200, -89, 89, 200, 1e4, 1e10, 1e30, 3e38])
    const saturating: Unary[] = [relu, relu6, leakyRelu, elu, selu, celu, hardtanh, hardsigmoid, hardswish, sigmoid, logSigmoid, softsign, softplus, silu, gelu, geluTanh, mish, tanh, erf, atan, asinh]
    for (const f of saturating) {
      const y = [...(await f(x).data())], dy = [...(await slope(f, x).data())]
      if (f !== hardswish) expect(y.every(Number.isFinite)).toBe(true)
      expect(dy.every(Number.isFinite)).toBe(true)
    }
  })

  test("of a choice: half to each of two equal ones, nothing to the loser", async () => {
    const a = tensor([1, 2, 3]), b = tensor([3, 2, 1])
    expect(await Promise.all(grad(sum(maximum(a, b)), [a, b]).map((g) => g.tolist()))).toEqual([[0, 0.5, 1], [1, 0.5, 0]])
    expect(await Promise.all(grad(sum(minimum(a, b)), [a, b]).map((g) => g.tolist()))).toEqual([[1, 0.5, 0], [0, 0.5, 1]])
  })
  test("of clamp passes at the bounds; of hardtanh it does not", async () => {
    const x = tensor([-2, -1, 0, 1, 2])
    expect(await slope((t) => clamp(t, -1, 1), x).tolist()).toEqual([0, 1, 1, 1, 0])
    expect(await slope(hardtanh, x).tolist()).toEqual([0, 0, 1, 0, 0])
  })
  test("of pow at 0: those of x⁰, x¹, x² and √x", async () => {
    const at0 = async (n: number): Promise<number> => slope((x) => pow(x, n), tensor([0])).reshape([]).item()
    expect(await Promise.all([0, 1, 2, 0.5].map(at0))).toEqual([0, 1, 0, Infinity])
    const x = tensor([0, 0, 2]), n = tensor([0, 2, 0])
    const [dx, dn] = grad(sum(pow(x, n)), [x, n])
    expect(await dx!.tolist()).toEqual([0, 0, 0])
    expect([...(await dn!.data())]).toEqual([0, 0, Math.fround(Math.log(2))])
  })
  test.each(["f16", "bf16", "f64"] as DType[])("have the dtype of their operand: %s", (dtype) => {
    const x = tensor([0.5, 0.25], { dtype })
    for (const [f] of Object.values(smooth)) expect([f(x).dtype, slope(f, x).dtype]).toEqual([dtype, dtype])
  })
})

describe("values", () => {
  const tiny = [1e-30, -1e-12, 1e-7, -3e-4, 0.01, -0.1, 0.19, -0.21, 0.34, -0.34, 0.49, -0.49, 0.51, 0.7]
  const exactly: [string, Unary, (x: number) => number][] = [
    ["log1p", log1p, Math.log1p], ["expm1", expm1, Math.expm1], ["sinh", sinh, Math.sinh], ["asinh", asinh, Math.asinh], ["atanh", atanh, Math.atanh],
    ["asin", asin, Math.asin], ["acos", acos, Math.acos], ["tanh", tanh, Math.tanh],
  ]
  test.each(exactly)("of %s keep their relative accuracy near 0, in f32 and in f64", async (_name, f, want) => {
    for (const [dtype, epsilon] of [["f32", 2 ** -23], ["f64", 2 ** -52]] as const) {
      const x = await tensor(tiny, { dtype }).data(), y = await f(tensor(tiny, { dtype })).data()
      x.forEach((v, i) => expect(Math.abs(y[i]! - want(v)) / Math.abs(want(v))).toBeLessThan(4 * epsilon))
    }
  })
  test("of large operands: sinh, cosh, asinh, acosh where exp and squares overflow", async () => {
    expect((await sinh(tensor([89])).data())[0]! / Math.sinh(89)).toBeCloseTo(1, 5)
    expect((await cosh(tensor([-89])).data())[0]! / Math.cosh(89)).toBeCloseTo(1, 5)
    expect((await asinh(tensor([-1e30])).data())[0]!).toBeCloseTo(Math.asinh(-1e30), 4)
    expect((await acosh(tensor([1e30])).data())[0]!).toBeCloseTo(Math.acosh(1e30), 4)
    expect([...(await acosh(tensor([0.5, -1, -3])).data())]).toEqual([NaN, NaN, NaN])
  })
  test("of atan2 are IEEE's for every pair of zeros, infinities and signs", async () => {
    const list = [0, -0, 1, -1, 2.5, -2.5, 1e-30, -1e30, Infinity, -Infinity, NaN]
    const y = list.flatMap((a) => list.map(() => a)), x = list.flatMap(() => list)
    for (const dtype of ["f32", "f64"] as const) {
      const got = await atan2(tensor(y, { dtype }), tensor(x, { dtype })).data()
      got.forEach((v, i) => (Number.isNaN(Math.atan2(y[i]!, x[i]!)) ? expect(v).toBeNaN() : expect(v).toBeCloseTo(Math.atan2(y[i]!, x[i]!), 6)))
    }
  })
  test("of lerp meet both ends exactly", async () => {
    const a = tensor([1e8, 0.1]), b = tensor([1, 0.7])
    expect([...(await lerp(a, b, 0).data()), ...(await lerp(a, b, 1).data())]).toEqual([...(await a.data()), ...(await b.data())])
  })
  test("of tests: NaN, infinity, and whole numbers, which are always finite", async () => {
    const x = tensor([1, NaN, Infinity, -Infinity])
    expect([await isNaN(x).tolist(), await isInf(x).tolist(), await isFinite(x).tolist()]).toEqual([[false, true, false, false], [false, false, true, true], [true, false, false, false]])
    const i = tensor([1, -2], { dtype: "i32" })
    expect([await isNaN(i).tolist(), await isFinite(i).tolist()]).toEqual([[false, false], [true, true]])
  })
  test("of logic take anything that is not 0 for true", async () => {
    const a = tensor([0, 2, 0, NaN]), b = tensor([0, 0, 5, 1], { dtype: "i32" })
    expect(await logicalAnd(a, b).tolist()).toEqual([false, false, false, true])
    expect(await logicalOr(a, b).tolist()).toEqual([false, true, true, true])
    expect(await logicalXor(a, b).tolist()).toEqual([false, true, true, false])
    expect(await logicalNot(a).tolist()).toEqual([true, false, true, false])
    expect(await logicalOr(a, 1).tolist()).toEqual([true, true, true, true])
  })
  test("of clamp in an integer type whose range a bound leaves", async () => {
    expect(await clamp(tensor([0, 7, 250], { dtype: "u8" }), -5, 300).tolist()).toEqual([0, 7, 250])
    expect(await clamp(tensor([0, 7, 250], { dtype: "u8" }), -9, -5).tolist()).toEqual([0, 0, 0])
    expect(await clamp(tensor([-100, 7, 100], { dtype: "i8" }), -8, 7).tolist()).toEqual([-8, 7, 7])
    expect(await clamp(tensor([1, 5]), 4, 2).tolist()).toEqual([2, 2])
  })
  test("of round go to the even neighbour", async () => {
    expect([...(await round(tensor([0.5, 1.5, 2.5, -0.5, -1.5])).data())].map((v) => v + 0)).toEqual([0, 2, 2, 0, -2])
  })
})

describe("integer division and bits", () => {
  const a = [7, -7, 7, -7, 6, -6, 0, 1, 2147483647, -2147483648, 5], b = [2, 2, -2, -2, 3, 3, 5, 0, -1, 3, 7]
  test.each(["i32", "i8", "f32", "f64"] as DType[])("quotient · divisor + remainder is the dividend, %s", async (dtype) => {
    const usable = a.map((_, i) => i).filter((i) => b[i] !== 0 && (dtype === "i32" || Math.abs(a[i]!) < 100))
    const x = tensor(usable.map((i) => a[i]!), { dtype }), y = tensor(usable.map((i) => b[i]!), { dtype })
    const want = await x.tolist()
    expect(await add(mul(floorDivide(x, y), y), remainder(x, y)).tolist()).toEqual(want)
    expect(await add(mul(truncDivide(x, y), y), fmod(x, y)).tolist()).toEqual(want)
    const rest = await remainder(x, y).data()
    rest.forEach((r, i) => expect(r === 0 || r < 0 === b[usable[i]!]! < 0).toBe(true))
  })
  test("whole numbers divided by zero give zero", async () => {
    const x = tensor([5, -5], { dtype: "i32" })
    for (const f of [floorDivide, truncDivide, remainder, fmod]) expect((await f(x, 0).data()).every((v) => v === 0)).toBe(true)
  })
  test("shifts keep the sign of signed numbers, and unsigned ones have none", async () => {
    expect(await rightShift(tensor([-8, 8], { dtype: "i32" }), 1).tolist()).toEqual([-4, 4])
    expect(await rightShift(tensor(Uint32Array.of(0xfffffff0)), 4).tolist()).toEqual([0x0fffffff])
    expect(await leftShift(tensor([1, 3], { dtype: "u8" }), 7).tolist()).toEqual([128, 128])
    expect(await bitwiseNot(tensor([0, 5], { dtype: "i32" })).tolist()).toEqual([-1, -6])
    expect(await bitwiseNot(tensor(Uint8Array.of(0xf0))).tolist()).toEqual([0x0f])
    expect(await bitwiseNot(tensor([true, false])).tolist()).toEqual([false, true])
  })
})

describe("numbers beside tensors", () => {
  test("take the type of their partner if they fit in it, and a wider one if not", async () => {
    const u8 = tensor([1, 200], { dtype: "u8" })
    expect([add(u8, 3).dtype, add(u8, 300).dtype, add(u8, -1).dtype, add(u8, 0.5).dtype, add(tensor([true]), 1).dtype]).toEqual(["u8", "i32", "i32", "f32", "i32"])
    expect(await lt(u8, -1).tolist()).toEqual([false, false])
    expect(await lt(tensor([-100, 100], { dtype: "i8" }), 200).tolist()).toEqual([true, true])
    expect([add(tensor([1], { dtype: "f16" }), 0.5).dtype, add(tensor([1], { dtype: "f64" }), 1).dtype]).toEqual(["f16", "f64"])
  })
})

describe("fusion", () => {
  test("an activation, and its gradient, is one kernel", () => {
    const x = tensor([1, 2, 3])
    for (const f of [relu, elu, selu, celu, leakyRelu, softplus, softsign, silu, gelu, geluTanh, mish, hardswish, hardsigmoid, logSigmoid, sigmoid, relu6]) {
      expect(explain(f(mul(x, 2))).split("\n").length).toBe(2)
      expect(explain(slope(f, x)).split("\n").length).toBe(2)
    }
  })
})
