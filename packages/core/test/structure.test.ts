import { isDeepStrictEqual } from "node:util"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { apply, explain, expand, type Op, type Shape, type Tensor } from "../src/index.ts"
import { full, mul, sum, tensor } from "../src/index.ts"
import { Structure } from "../src/structure.ts"

const op = (name: string): Op<unknown> => ({ name, meaning: { at: () => { throw new Error("not lowered") } }, result: () => ({ shape: [2], dtype: "f32" }) })
const [one, other] = [op("one"), op("other")]
const wordsOf = (...tensors: Tensor[]): Int32Array => {
  const s = new Structure()
  for (const t of tensors) s.addTensor(t)
  return s.copy()
}
const same = (a: Tensor, b: Tensor): boolean => {
  const s = new Structure()
  s.addTensor(b)
  const equal = s.equals(wordsOf(a))
  const twice = new Structure()
  twice.addTensor(a)
  const middle = twice.length
  twice.addTensor(b)
  // Side by side they compare as apart.
  expect(twice.repeats(middle, 0)).toBe(equal)
  if (equal) expect(twice.hash(middle)).toBe(s.hash())
  return equal
}

describe("words of a structure", () => {
  const leaf = fc.oneof(fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 1, 2 ** 31, -(2 ** 31), 2 ** 32 + 1, 0.1), fc.double(), fc.integer(), fc.boolean(), fc.constant(null), fc.constant(undefined), fc.string({ maxLength: 3 }), fc.bigInt({ min: -3n, max: 3n }))
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof({ depthSize: "small" }, leaf, fc.array(tie("value"), { maxLength: 3 }), fc.dictionary(fc.constantFrom("a", "b", "ab"), tie("value"), { maxKeys: 3 })),
  }))
  const plain = (x: unknown): unknown => (Array.isArray(x) ? x.map(plain) : typeof x === "object" && x !== null ? Object.fromEntries(Object.entries(x).map(([k, v]) => [k, plain(v)])) : x)
  const ordered = (a: unknown, b: unknown): boolean => isDeepStrictEqual(a, b) && JSON.stringify(keysOf(a)) === JSON.stringify(keysOf(b))
  const keysOf = (x: unknown): unknown => (Array.isArray(x) ? x.map(keysOf) : typeof x === "object" && x !== null ? Object.entries(x).map(([k, v]) => [k, keysOf(v)]) : 0)

  test("are equal exactly for equal attributes, and none begins another", () => {
    let equal = 0
    fc.assert(fc.property(value, value, fc.boolean(), (x, y, alike) => {
      const a = plain(x), b = plain(alike ? x : y)
      const expected = ordered(a, b)
      equal += Number(expected)
      expect(same(apply(one, [], a), apply(one, [], b))).toBe(expected)
      const [w, v] = [wordsOf(apply(one, [], a)), wordsOf(apply(one, [], b))]
      if (!expected) expect(w.every((word, i) => v[i] === word)).toBe(false)
    }), { numRuns: 2000 })
    expect(equal).toBeGreaterThan(500)
  })
  test("tell ops, functions and instances apart by identity", () => {
    expect(same(apply(one, [], 1), apply(other, [], 1))).toBe(false)
    const f = (): number => 1, g = (): number => 1, d = new Date(0)
    expect(same(apply(one, [], { f }), apply(one, [], { f }))).toBe(true)
    expect(same(apply(one, [], { f }), apply(one, [], { f: g }))).toBe(false)
    expect(same(apply(one, [], d), apply(one, [], d))).toBe(true)
    expect(same(apply(one, [], d), apply(one, [], new Date(0)))).toBe(false)
  })
  test("tell shapes apart, also of sizes beyond 32 bits, and dtypes", () => {
    const typed = (shape: Shape, dtype: "f32" | "i32" = "f32"): Int32Array => {
      const s = new Structure()
      s.addType(full(shape, 0, dtype))
      return s.copy()
    }
    const shapes: Shape[] = [[], [0], [1], [0, 1], [5], [2 ** 32 + 5], [2 ** 33 + 5], [5, 1], [2 ** 32 + 5, 3], [5, 2 ** 32 + 3], [2 ** 31 - 1], [2 ** 31], [2 ** 32 - 1], [1, 0, 5]]
    const all = [...shapes.map((s) => typed(s)), typed([5], "i32")]
    expect(new Set(all.map(String)).size).toBe(all.length)
  })
})

describe("programs are found by structure", () => {
  const x = tensor([1, 2, 3])
  test("whatever else is equal, another constant is another program", () => {
    expect(explain(mul(x, 2))).not.toBe(explain(mul(x, 3)))
    expect(explain(mul(x, 0))).toContain(" 0f32")
    expect(explain(mul(x, -0))).toContain(" -0f32")
    expect(explain(mul(x, NaN))).toContain("NaNf32")
    expect(explain(mul(x, 0.1))).not.toBe(explain(mul(x, 0.2)))
  })
  test("values of the same structure are those of their own operands", async () => {
    const of = (a: number, b: number): Promise<number> => sum(mul(tensor([a, a]), expand(tensor([b]), [2]))).item()
    expect([await of(1, 2), await of(3, 4), await of(5, 6)]).toEqual([4, 24, 60])
  })
  test("the same operand twice is another structure than two operands", async () => {
    const [a, b] = [tensor([2]), tensor([3])]
    expect([await mul(a, a).item(), await mul(a, b).item(), await mul(b, a).item(), await mul(b, b).item()]).toEqual([4, 6, 6, 9])
  })
})
