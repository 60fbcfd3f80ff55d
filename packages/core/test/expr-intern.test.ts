import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { expr, flatten, showExpr, type DType, type Expr } from "../src/index.ts"

const { freshExprs, index, int, constant, load, add, sub, mul, div, rem, min, select, lt, exp, cast, store } = expr

describe("equal expressions are identical, others are not", () => {
  test("constants differ by type and by the sign of zero; NaN is one constant", () => freshExprs(() => {
    expect(constant("f32", 0)).not.toBe(constant("f32", -0))
    expect(Object.is(constant("f32", -0).value, -0)).toBe(true)
    expect(constant("f32", 0.1)).not.toBe(constant("f64", 0.1))
    expect(constant("f32", 1)).not.toBe(constant("i32", 1))
    expect(constant("i32", 1)).not.toBe(constant("u32", 1))
    expect(constant("i32", 1)).not.toBe(constant("bool", 1))
    expect(constant("f32", 0.5)).not.toBe(constant("f32", 0.25))
    expect(constant("f32", NaN)).toBe(constant("f32", NaN))
    expect(constant("f64", NaN)).not.toBe(constant("f32", NaN))
    expect(constant("i32", -0)).toBe(int(0))
    expect(constant("i32", 2 ** 32 + 5)).toBe(int(5))
  }))
  test("a NaN of any payload is the same constant: what is computed must not depend on it", () => freshExprs(() => {
    const bits = new Float64Array(new BigUint64Array([0x7ff8000000000001n, 0xfff8000000000000n]).buffer)
    expect(constant("f64", bits[0]!)).toBe(constant("f64", bits[1]!))
  }))
  test("coordinates differ by axis and by size; loads and stores by what they read and as what", () => freshExprs(() => {
    const i = index(0, 4)
    expect(index(0, 4)).toBe(i)
    expect(index(0, 5)).not.toBe(i)
    expect(index(1, 4)).not.toBe(i)
    expect(load(1, "f32", i)).toBe(load(1, "f32", i))
    expect(load(1, "f16", i)).not.toBe(load(1, "bf16", i))
    expect(load(1, "f32", i)).not.toBe(load(2, "f32", i))
    expect(store(load(1, "f32", i), "f16")).not.toBe(store(load(1, "f32", i), "bf16"))
    expect(cast(i, "f32")).not.toBe(cast(i, "f64"))
    expect(sub(load(1, "f32", i), load(2, "f32", i))).not.toBe(sub(load(2, "f32", i), load(1, "f32", i)))
  }))
  test("also when there are many, and ids count them", () => freshExprs(() => {
    const made = Array.from({ length: 5000 }, (_, n) => exp(constant("f64", n / 7)))
    expect(made.map((_, n) => exp(constant("f64", n / 7)))).toEqual(made)
    expect(made.every((e, n) => exp(constant("f64", n / 7)) === e && e.id === 2 * n + 1)).toBe(true)
  }))
  test("a scope of its own begins empty and leaves the outer one as it was", () => freshExprs(() => {
    const outer = exp(constant("f32", 3))
    const inner = freshExprs(() => exp(constant("f32", 3)))
    expect(inner).not.toBe(outer)
    expect(inner.id).toBe(1)
    expect(() => freshExprs(() => { throw new Error("thrown inside") })).toThrow("thrown inside")
    expect(exp(constant("f32", 3))).toBe(outer)
  }))
})

/** How an expression is built; few leaves, so that different ways to the same expression are met often. */
type Recipe = readonly [op: "add" | "sub" | "mul" | "div" | "rem" | "min" | "select" | "fadd" | "fmul" | "exp", a: number, b: number]
const dtypeOf: readonly DType[] = ["f32", "u8", "f32"]
function build(leaves: readonly number[], steps: readonly Recipe[]): Expr {
  const ints: Expr[] = [index(0, 3 + leaves[0]!), index(1, 3 + leaves[1]!), int(leaves[2]!), cast(load(1, dtypeOf[1]!, index(0, 3 + leaves[0]!)), "i32")]
  const floats: Expr[] = [load(0, dtypeOf[0]!, ints[0]!), constant("f32", leaves[2] === 0 ? -0 : 0), constant("f32", leaves[1]!)]
  for (const [op, x, y] of steps) {
    const a = ints[x % ints.length]!, b = ints[y % ints.length]!, f = floats[x % floats.length]!, g = floats[y % floats.length]!
    if (op === "fadd") floats.push(add(f, g))
    else if (op === "fmul") floats.push(mul(f, g))
    else if (op === "exp") floats.push(exp(f))
    else if (op === "div") ints.push(div(a, int(1 + (y % 4))))
    else if (op === "rem") ints.push(rem(a, int(1 + (y % 4))))
    else if (op === "mul") ints.push(mul(a, int((y % 7) - 2)))
    else if (op === "select") ints.push(select(lt(a, int(2)), a, b))
    else ints.push({ add, sub, min }[op](a, b))
  }
  return add(floats.at(-1)!, load(2, dtypeOf[2]!, ints.at(-1)!))
}
const recipes = {
  leaves: fc.array(fc.nat(1), { minLength: 3, maxLength: 3 }),
  steps: fc.array(fc.tuple(fc.constantFrom("add", "sub", "mul", "div", "rem", "min", "select", "fadd", "fmul", "exp"), fc.nat(5), fc.nat(9)), { maxLength: 5 }) as fc.Arbitrary<Recipe[]>,
}
const sizesOf = (e: Expr): string => flatten([e]).filter((x) => x.op === "index").map((x) => x.high).join()

test("two expressions are one object exactly when they print the same and their coordinates have the same sizes", () => {
  let same = 0, different = 0
  fc.assert(fc.property(recipes.leaves, recipes.leaves, recipes.steps, recipes.steps, fc.boolean(), (l, m, s, t, alike) => freshExprs(() => {
    const a = build(l, s), b = build(m, alike ? s : t)
    const equal = showExpr(a) === showExpr(b) && sizesOf(a) === sizesOf(b)
    if (equal) same++
    else different++
    expect(a === b).toBe(equal)
  })), { numRuns: 3000 })
  expect(Math.min(same, different)).toBeGreaterThan(100)
})
