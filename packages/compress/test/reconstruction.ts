// What tests of methods that search for codes step by step have in common.
import fc from "fast-check"
import { expect, test } from "vitest"
import { hessian, type GridOptions, type LearnedRounding } from "../src/index.ts"
import { fill } from "../src/laws/values.ts"

export const rows = 4
/** Matrices of so many columns, and inputs of them. */
export function layer(columns: number) {
  return {
    columns, shape: [rows, columns] as const,
    weights: (seed: number): Float64Array => Float64Array.from(fill("gaussian", seed, [rows, columns])),
    hessianOf(x: Float32Array, n = columns): Float64Array {
      const h = hessian(n)
      h.add(x, x.length / n)
      return h.matrix()
    },
    /** Neighbours that resemble each other: which way one is rounded matters to the others. */
    inputs(seed: number, n = columns): Float32Array {
      const x = fill("gaussian", seed, [60, n])
      for (let i = 1; i < x.length; i++) if (i % n) x[i] = x[i]! * 0.4 + x[i - 1]!
      return x
    },
  }
}
export const total = (v: Float64Array): number => v.reduce((a, b) => a + b, 0)

type Options = GridOptions & { readonly group: number | "row"; readonly steps?: number }
type Solve<O> = (weights: Float64Array, shape: readonly [number, number], hessian: Float64Array, options: O) => Promise<LearnedRounding>

/** Laws of every such method: `steps` are many for it. */
export function obeysCommonLaws<O extends Options>(solve: Solve<O>, { shape, weights, hessianOf, inputs }: ReturnType<typeof layer>, { options, steps }: { readonly options: fc.Arbitrary<O>; readonly steps: number }): void {
  test("four times H changes nothing, and neither does running it again", () => fc.assert(fc.asyncProperty(fc.integer(), options, async (seed, o) => {
    const w = weights(seed), h = hessianOf(inputs(seed)), found = await solve(w, shape, h, o)
    expect((await solve(w, shape, h.map((v) => 4 * v), o)).codes).toEqual(found.codes)
    expect(await solve(w, shape, h, o)).toEqual(found)
  }), { numRuns: 8 }))

  test("weights on the grid stay there", async () => {
    const grid = (n: number): O => ({ bits: 3, group: 5, steps: n }) as O
    const once = await solve(weights(1), shape, hessianOf(inputs(1)), grid(1))
    const again = await solve(once.values, shape, hessianOf(inputs(2)), grid(steps))
    again.values.forEach((v, i) => expect(Math.abs(v - once.values[i]!)).toBeLessThan(1e-12))
  })
}
