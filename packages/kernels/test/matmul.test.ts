import fc from "fast-check"
import { describe, expect, test } from "vitest"
import type { Features } from "../src/template/holes.ts"
import { check, layouts, relaxedSimd, run, sameBits } from "./matmul.case.ts"
import type { Case } from "./matmul.case.ts"

const everyFeatures: Features[] = [{ relaxed: false, wide: false }, { relaxed: false, wide: true },
  ...(relaxedSimd ? [{ relaxed: true, wide: false }, { relaxed: true, wide: true }] : [])]

describe.each(everyFeatures)("matmul, relaxed $relaxed, wide $wide", (features) => {
  const small = (usual: number, rare: number) => fc.oneof(fc.integer({ min: 1, max: usual }), fc.integer({ min: 1, max: rare }))

  test("within (K+4)·ε·Σ|a||b| of float64, the same bits for any split of the units, no access outside", () => {
    fc.assert(fc.property(
      fc.record({
        batch: fc.integer({ min: 1, max: 3 }),
        m: small(14, 50),
        k: small(20, 300),
        n: small(20, 300),
        a: fc.constantFrom(...layouts),
        b: fc.constantFrom(...layouts),
        result: fc.constantFrom("row" as const, "column" as const),
        epilogue: fc.boolean(),
        last: fc.constantFrom("a" as const, "b" as const),
      }),
      (c) => check({ ...c, features }),
    ), { seed: 7, numRuns: 60 })
  })

  const cases: (Omit<Case, "features" | "epilogue" | "batch"> & { batch?: number })[] = [
    { m: 67, k: 1100, n: 83, a: "row", b: "row" }, // several blocks of k, all tails
    { m: 67, k: 1100, n: 83, a: "column", b: "column" },
    { m: 1100, k: 5, n: 17, a: "row", b: "column" }, // several row units
    { m: 2050, k: 3, n: 2060, a: "row", b: "row" }, // wide units
    { m: 600, k: 30, n: 20, a: "column", b: "row" },
    { m: 1, k: 1030, n: 517, a: "row", b: "column" }, // decoding
    { m: 11, k: 203, n: 37, a: "row", b: "column" },
    { m: 4, k: 230, n: 517, a: "row", b: "row" },
    { m: 1, k: 20, n: 9001, a: "row", b: "row" }, // several blocks of columns
    { m: 300, k: 70, n: 1, a: "row", b: "row" }, // matrix times vector: read as vector times matrix
    { m: 1, k: 1, n: 1, a: "row", b: "row" },
    { m: 8, k: 16, n: 8, a: "row", b: "column", batch: 9 },
    { m: 1, k: 64, n: 130, a: "row", b: "column", batch: 5 },
    { m: 16, k: 0, n: 9, a: "row", b: "row" }, // an empty sum is 0
    { m: 2, k: 0, n: 9, a: "row", b: "row" },
    { m: 2, k: 0, n: 9, a: "row", b: "column" },
  ]
  test.each(cases)("$m × $k × $n, a $a, b $b", (c) => check({ batch: 1, epilogue: true, ...c, features }))

  test("full and partial tiles, and all blocks of rows, agree in every bit", () => {
    for (const [m, b] of [[71, "row"], [71, "column"], [11, "column"], [3, "row"]] as const) {
      const [output] = run({ batch: 1, m, k: 150, n: 40, a: "repeated", b, epilogue: false, features }).outputs
      for (let row = 1; row < m; row++) expect(sameBits(output!.subarray(row * 40, row * 40 + 40), output!.subarray(0, 40)), `row ${row} of ${m}`).toBe(true)
    }
  })
})
