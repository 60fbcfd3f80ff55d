import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { hadamardFactors, hadamardMatrix, hadamardTransform, NonFinite, UnfitSize } from "../../src/linalg/index.ts"
import { distance, multiply, norm, random, transpose, ε } from "./matrices.ts"

/** Powers of two, both of Paley's constructions, and fields of p² and p³ elements (52 and 28). */
const sizes = [1, 2, 4, 8, 12, 20, 24, 28, 36, 40, 44, 52, 56, 96]

describe("matrices", () => {
  test("entries are ±1 and H·Hᵀ = n·I, exactly", () => {
    for (const n of sizes) {
      const h = hadamardMatrix(n)
      expect(h.every((x) => x === 1 || x === -1)).toBe(true)
      expect(multiply(h, transpose(h, n, n), n, n, n)).toEqual(Float64Array.from({ length: n * n }, (_, p) => (p % (n + 1) === 0 ? n : 0)))
    }
  })

  test("powers of two are Sylvester's: entry (i, j) is the parity of i & j", () => {
    const parity = (x: number): number => (x === 0 ? 1 : (x & 1 ? -1 : 1) * parity(x >> 1))
    expect(hadamardMatrix(32)).toEqual(Int8Array.from({ length: 1024 }, (_, p) => parity((p >> 5) & p & 31)))
  })

  test("the widths of common models are usable", () => {
    const widths = { 576: 36, 768: 12, 896: 28, 2560: 20, 4864: 76, 5632: 44, 8960: 140, 11008: 344, 13824: 108, 14336: 28, 18944: 148, 28672: 28, 53248: 52 }
    for (const [width, base] of Object.entries(widths)) expect(hadamardFactors(Number(width)).base).toBe(base)
  })
})

describe("transform", () => {
  test("is the product with the matrix, or with its transpose", () => {
    fc.assert(
      fc.property(fc.constantFrom(...sizes), fc.integer({ min: 0, max: 3 }), fc.boolean(), (n, rows, transposed) => {
        const x = random(rows, n, 4), h = Float64Array.from(hadamardMatrix(n)), y = x.slice()
        hadamardTransform(y, rows, n, { transposed })
        expect(distance(y, multiply(x, transposed ? h : transpose(h, n, n), rows, n, n))).toBeLessThanOrEqual(n * ε * norm(x) * Math.sqrt(n))
      }),
      { numRuns: 60 },
    )
  })

  test("orthonormal: lengths are kept, and the transposed transform undoes it; float32 rounds once", () => {
    for (const n of [1, 2, 64, 512, 28, 56, 768]) {
      const x = Float32Array.from(random(5, n, 3)), y = x.slice()
      hadamardTransform(y, 5, n, { scale: "orthonormal" })
      expect(Math.abs(norm(y) - norm(x))).toBeLessThan(2 ** -23 * norm(x))
      hadamardTransform(y, 5, n, { scale: "orthonormal", transposed: true })
      expect(distance(y, x)).toBeLessThan(2 ** -23 * norm(x))
    }
  })
})

describe("failures", () => {
  test("an unfit size names its nearest usable neighbours", () => {
    const x = new Float64Array(30)
    expect(() => hadamardTransform(x, 10, 3)).toThrow("hadamardTransform: no Hadamard matrix of size 3; the nearest usable sizes are 2 and 4")
    expect(() => hadamardMatrix(13)).toThrow(expect.objectContaining({ size: 13, below: 12, above: 16 }))
    expect(() => hadamardMatrix(0)).toThrow(expect.objectContaining({ below: 1, above: 1 }))
    expect(() => hadamardMatrix(2.5)).toThrow(UnfitSize)
    expect(() => hadamardMatrix(13696)).toThrow(expect.objectContaining({ below: 13568, above: 13760 }))
  })

  test("infinities are refused before anything is written; no rows are no work", () => {
    const x = Float32Array.of(1, 2, 3, Infinity)
    expect(() => hadamardTransform(x, 1, 4)).toThrow(NonFinite)
    expect([...x]).toEqual([1, 2, 3, Infinity])
    hadamardTransform(new Float32Array(0), 0, 4)
    hadamardTransform(new Float32Array(0), 3, 0)
  })
})
