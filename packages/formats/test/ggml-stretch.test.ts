import { describe, expect, test } from "vitest"
import { ggml } from "../src/ggml/index.ts"
import { stretches, type Stretch } from "../src/ggml/stretch.ts"

const { plain, vectors } = stretches()
const f = Math.fround
let seed = 7
const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32
const gaussian = (): number => f(random() + random() + random() + random() - 2)

/** What the values of a group are like. */
const kinds: Readonly<Record<string, (i: number, size: number) => number>> = {
  "like weights": (_, size) => f(gaussian() * size),
  positive: (_, size) => f(Math.abs(gaussian()) * size),
  negative: (_, size) => f(-Math.abs(gaussian()) * size),
  zeros: () => 0,
  "zeros of both signs": (i) => (i % 2 ? 0 : -0),
  constant: (_, size) => f(size),
  "one outlier": (i, size) => (i === 5 ? f(1000 * size) : f(gaussian() * size)),
  "ties of the largest": (i, size) => (i % 3 === 0 ? f(size) : i % 3 === 1 ? f(-size) : 0),
  "whole steps": (_, size) => f((Math.floor(random() * 31) - 15) * size),
  "half steps": (_, size) => f((Math.floor(random() * 31) - 15) * size * 0.5),
  subnormal: () => f(gaussian() * 2 ** -140),
  "near nothing": () => f(gaussian() * 2e-15),
  "one alone": (i, size) => (i === 3 ? f(size) : 0),
}
const sizes = [1, 0.02, 3e-6, 2 ** 28, 2 ** -100]

/** The bits of both ways on the same groups; a NaN is any. */
function both(fill: (own: Stretch) => void, run: (own: Stretch) => void): readonly [plain: number[], vectors: number[]] {
  fill(plain)
  vectors!.values.set(plain.values)
  vectors!.weights.set(plain.weights)
  return [plain, vectors!].map((own) => {
    run(own)
    return [...new Uint32Array(Float32Array.from([...own.scales, ...own.drops].map((v) => v + 0)).buffer)]
  }) as unknown as readonly [number[], number[]]
}

describe.skipIf(vectors === undefined)("a search by vectors gives the scalar search's bits", () => {
  for (const [name, value] of Object.entries(kinds))
    test(name, () => {
      for (const size of sizes) {
        const fill = ({ values, weights }: Stretch): void => {
          for (let i = 0; i < values.length; i++) {
            values[i] = value(i % 16, size)
            weights[i] = i % 7 === 0 ? 0 : f(Math.abs(gaussian()))
          }
        }
        for (const [n, top, first, rise, tries, magnitude] of [[32, 15, -1, 0.1, 20, false], [32, 31, -0.5, 0.1, 15, false], [16, 3, -0.5, 0.1, 15, true], [16, 3, -0.9, 0.05, 36, false], [32, 15, -0.9, 0.05, 36, false]] as const) {
          const [want, got] = both(fill, (own) => own.affine(n, 4096 / n, { top, first: f(first), rise: f(rise), tries, magnitude }))
          expect(got).toEqual(want)
        }
        for (const [top, weighted] of [[32, false], [32, true], [4, true]] as const) {
          const [want, got] = both(fill, (own) => {
            own.drops.fill(0)
            own.symmetric(256, top, weighted)
          })
          expect(got).toEqual(want)
        }
      }
    })
})

/** Rows are taken in stretches of 4096. */
test.each(["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"] as const)("%s: a long row is its super-blocks, with importances and without", (type) => {
  const columns = 4096 + 768, { bytes } = ggml[type].block
  const values = Float32Array.from({ length: columns }, () => f(0.02 * gaussian())), importance = Float32Array.from({ length: columns }, () => random())
  for (const known of [false, true]) {
    const encode = (from: number, to: number): Uint8Array => {
      const shape = [1, to - from] as const
      return ggml[type].join(ggml[type].encode(values.subarray(from, to), shape, known ? { importance: importance.subarray(from, to) } : {}), shape)
    }
    const whole = encode(0, columns)
    for (let b = 0; b < columns / 256; b++) expect(encode(256 * b, 256 * b + 256)).toEqual(whole.subarray(b * bytes, (b + 1) * bytes))
  }
})
