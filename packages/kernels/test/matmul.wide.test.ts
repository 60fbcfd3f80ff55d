// The revectorizer turns the tiles into 256-bit code. It may not change a bit.
import v8 from "node:v8"
import { expect, test } from "vitest"
import { relaxedSimd, run, sameBits } from "./matmul.case.ts"
import type { Case } from "./matmul.case.ts"

// The optimizing compiler alone: the baseline compiler does not revectorize.
v8.setFlagsFromString("--no-liftoff")

const features = { relaxed: relaxedSimd, wide: true }
const cases: Case[] = [
  { m: 67, k: 1100, n: 83, a: "row", b: "row" }, { m: 64, k: 256, n: 64, a: "row", b: "column" },
  { m: 4, k: 230, n: 517, a: "row", b: "row" }, { m: 11, k: 203, n: 37, a: "row", b: "column" },
  { m: 1, k: 512, n: 64, a: "row", b: "column" }, { m: 31, k: 40, n: 50, a: "column", b: "gapped" },
].map((c) => ({ batch: 2, epilogue: true, features, ...c }) as Case)

test.each(cases)("the same bits with and without the revectorizer: $m × $k × $n, a $a, b $b", (c) => {
  v8.setFlagsFromString("--no-experimental-wasm-revectorize")
  const [without] = run(c).outputs
  v8.setFlagsFromString("--experimental-wasm-revectorize")
  const { outputs: [wide], worst } = run(c)
  expect(worst).toBeLessThanOrEqual(1)
  expect(sameBits(wide!, without!)).toBe(true)
})
