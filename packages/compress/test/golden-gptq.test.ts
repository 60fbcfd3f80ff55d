import { describe, expect, test } from "vitest"
import type { TypedArray } from "@thimble/core"
import { openGolden } from "../../conformance/src/golden.ts"
import { hessian, solveGptq } from "../src/index.ts"

interface Case {
  readonly name: string; readonly layer: "A" | "B"; readonly bits: 4; readonly sym: boolean; readonly g: number; readonly act: boolean; readonly static: boolean
  readonly blocksize: number; readonly mse: boolean; readonly percdamp: number; readonly ints: string; readonly scales: string; readonly zeros: string; readonly g_idx: string; readonly ref_loss: number
}
const set = await openGolden<{ readonly gptq: readonly Case[] }>("gptq", new URL("../fixtures", import.meta.url))
const numbers = (name: string): number[] => Array.from(set.array(name) as TypedArray, Number)

describe("integers, grids and losses are the published code's, run in float64", () => {
  test.each(set.manifest.gptq.map((c) => [c.name, c] as const))("%s", (_, c) => {
    const [rows, columns] = set.manifest.tensors[`layer${c.layer}.W`]!.shape as [number, number]
    const found = solveGptq(set.array(`layer${c.layer}.W`) as Float32Array, [rows, columns], set.array(`layer${c.layer}.H_f64`) as Float64Array, {
      bits: c.bits, range: c.sym ? "symmetric" : "asymmetric", group: c.g < 0 ? "row" : c.g, order: c.act ? "activity" : "given",
      grids: c.static ? "static" : "stale", block: c.blocksize, damping: c.percdamp, ends: c.mse ? "search" : "whole",
    })
    expect([...found.codes]).toEqual(numbers(c.ints))
    expect([...found.zeros]).toEqual(numbers(c.zeros))
    expect([...found.groupOf]).toEqual(numbers(c.g_idx))
    const scales = numbers(c.scales)
    found.scales.forEach((s, i) => expect(Math.abs(s - scales[i]!)).toBeLessThanOrEqual(1e-12 * scales[i]!))
    const loss = found.loss.reduce((a, b) => a + b, 0) / 2
    expect(Math.abs(loss - c.ref_loss)).toBeLessThanOrEqual(1e-9 * c.ref_loss)
    expect(found.fallbacks).toEqual(c.layer === "B" ? [{ kind: "dead columns", columns: [5] }] : [])
  })
})

test("H of the recorded inputs is the recorded one", () => {
  const [batches, tokens, columns] = set.manifest.tensors["layerA.X"]!.shape as [number, number, number], x = set.array("layerA.X") as Float32Array
  const h = hessian(columns)
  for (let b = 0; b < batches; b++) h.add(x.subarray(b * tokens * columns, (b + 1) * tokens * columns), tokens)
  const want = set.array("layerA.H_f64") as Float64Array, got = h.matrix(), most = Math.max(...want)
  expect(h.tokens).toBe(batches * tokens)
  got.forEach((v, i) => expect(Math.abs(v - want[i]!)).toBeLessThanOrEqual(1e-12 * most))
})
