import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { compile, full, tensor, tensorsOf, type Tensor } from "../src/index.ts"

const a = tensor([1, 2]), b = tensor([3, 4])

/** How many programs a function is captured as when it is called with these arguments in turn. */
async function programs(...calls: readonly unknown[]): Promise<number> {
  const f = compile((x: unknown) => tensorsOf(x).reduce((s, t) => s.add(t.sum()), full([], 0)))
  for (const x of calls) (await f(x)).dispose()
  const count = f.programs
  f.dispose()
  return count
}

describe("one program per structure of the arguments", () => {
  test("values, also of numbers, do not matter", async () => {
    expect(await programs({ p: [a, b], rate: 1 }, { p: [b, a], rate: 2 }, { p: [a.add(1), b], rate: NaN })).toBe(1)
    expect(await programs([a, 1n], [b, -7n])).toBe(1)
  })
  test("shape, dtype, names, forms, tying and all other leaves do", async () => {
    const different: unknown[] = [
      [a, b], [a, a], [a], [[a], b], [a, [b]], [], [[]], {}, { p: [] }, { a, b }, { b, a }, { a, c: b }, { "a.b": a }, { a: { b: a } }, [tensor([1])], [tensor([[1, 2]])],
      [tensor([1, 2], { dtype: "i32" })], [a, 1], [a, 1n], [a, "1"], [a, "2"], [a, true], [a, undefined], [a, null], [a, "undefined undefined"], ["ab", "c"], ["a", "bc"],
    ]
    expect(await programs(...different, ...different)).toBe(different.length)
  })
  test("trees of any form give the sum of their tensors, whichever program they find", async () => {
    const f = compile((x: unknown) => tensorsOf(x).reduce((s, t) => s.add(t), full([], 0)))
    const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
      tree: fc.oneof({ depthSize: "small" }, fc.integer({ min: 1, max: 9 }), fc.constantFrom("x", "y"), fc.array(tie("tree"), { maxLength: 3 }), fc.dictionary(fc.constantFrom("p", "q"), tie("tree"), { maxKeys: 2 })),
    }))
    const known = [1, 2, 3].map((v) => tensor(v))
    const made = (x: unknown): unknown => (typeof x === "number" && x < 4 ? known[x - 1] : Array.isArray(x) ? x.map(made) : typeof x === "object" ? Object.fromEntries(Object.entries(x!).map(([k, v]) => [k, made(v)])) : x)
    const total = (x: unknown): number => (typeof x === "number" ? x : typeof x === "object" ? Object.values(x!).reduce((s: number, v) => s + total(v), 0) : 0)
    await fc.assert(fc.asyncProperty(tree, async (x) => {
      const y: Tensor = await f(made(x))
      expect(await y.item()).toBe(total(x))
      y.dispose()
    }), { numRuns: 300 })
    f.dispose()
  })
})
