import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { ModuleBuilder } from "../src/emit/assembler.ts"
import type { Features } from "../src/template/holes.ts"
import { matmul } from "../src/template/matmul.ts"
import type { MatmulDims } from "../src/template/matmul.ts"
import { operand, phaseModule, result } from "./strided.ts"

const relaxedSimd = (() => {
  const m = new ModuleBuilder()
  m.function(["v128"], ["v128"], (f, x) => { f.get(x); f.get(x); f.get(x); f.op("f32x4.relaxed_madd") })
  return WebAssembly.validate(m.finish())
})()

type Layout = "row" | "column" | "gapped" | "broadcast"
interface Case extends MatmulDims {
  readonly a: Layout
  readonly b: Layout
  readonly epilogue: boolean
  readonly features: Features
  readonly result?: "row" | "column"
}

/** Strides of a [batch, rows, columns] array, and how many elements it takes. */
function layout(kind: Layout, batch: number, rows: number, columns: number): { strides: number[]; size: number } {
  const size = batch * rows * columns
  if (kind === "row") return { strides: [rows * columns, columns, 1], size }
  if (kind === "column") return { strides: [rows * columns, 1, rows], size }
  if (kind === "broadcast") return { strides: [0, columns, 1], size: rows * columns }
  return { strides: [2 * rows * columns, 2 * columns, 2], size: 2 * size }
}

/** Runs one case for several splits of the units; returns results (one per split) and what float64 says. */
function run(c: Case, seed = 1) {
  const { batch, m, k, n } = c
  const [la, lb, lc] = [layout(c.a, batch, m, k), layout(c.b, batch, k, n), layout(c.result ?? "row", batch, m, n)]
  const align = (x: number) => Math.ceil(x / 64) * 64
  const at = { a: 1024, b: 0, c: 0, bias: 0, scratch: 0 }
  at.b = align(at.a + 4 * la.size)
  at.bias = align(at.b + 4 * lb.size)
  at.c = align(at.bias + 4 * n) + 64
  at.scratch = align(at.c + 4 * lc.size) + 64
  const holes = {
    a: operand({ address: at.a, strides: la.strides }),
    b: operand({ address: at.b, strides: lb.strides }),
    result: result({ address: at.c, strides: lc.strides }, c.epilogue ? { bias: { address: at.bias, strides: [0, 0, 1] }, floor: -0.25 } : undefined),
  }
  const build = (pages: number) => phaseModule(pages, (scratch, threadScratch) => matmul(c, { ...holes, scratch, threadScratch }, c.features))
  const sizes = build(1).template
  const thread = at.scratch + align(sizes.scratchBytes)
  const end = thread + sizes.threadScratchBytes
  const pages = Math.ceil((end + 64) / 65536)
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
  const { bytes, template } = build(pages)
  const phases = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } }).exports as
    Record<string, (scratch: number, thread: number, begin: number, end: number) => void>

  let state = seed
  const random = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) * 2 - 1
  const floats = new Float32Array(memory.buffer)
  const fill = (address: number, count: number) => { for (let i = 0; i < count; i++) floats[address / 4 + i] = random() }
  fill(at.a, la.size)
  fill(at.b, lb.size)
  fill(at.bias, n)

  const splits = [(units: number) => [0, units], (units: number) => Array.from({ length: units + 1 }, (_, i) => i),
    (units: number) => [0, Math.floor(units / 3), Math.ceil(units / 2), units]]
  const outputs = splits.map((split) => {
    floats.fill(NaN, at.c / 4 - 16)
    template.phases.forEach(({ units }, i) => {
      const cuts = split(units)
      for (let r = 0; r + 1 < cuts.length; r++) {
        floats.fill(NaN, thread / 4)
        phases[`phase${i}`]!(at.scratch, thread, cuts[r]!, cuts[r + 1]!)
      }
    })
    const guards = [...floats.slice(at.c / 4 - 16, at.c / 4), ...floats.slice(at.c / 4 + lc.size, at.scratch / 4),
      ...floats.slice(end / 4, end / 4 + 16)]
    expect(guards.every(Number.isNaN), "writes outside the result or scratch").toBe(true)
    return floats.slice(at.c / 4, at.c / 4 + lc.size)
  })

  let worst = 0
  const place = (address: number, strides: number[], i: number, j: number, l: number) => floats[address / 4 + i * strides[0]! + j * strides[1]! + l * strides[2]!]!
  for (let x = 0; x < batch; x++) for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) {
    let [sum, magnitude] = [0, 0]
    for (let l = 0; l < k; l++) {
      const product = place(at.a, la.strides, x, i, l) * place(at.b, lb.strides, x, l, j)
      sum += product
      magnitude += Math.abs(product)
    }
    const bias = floats[at.bias / 4 + j]!
    const expected = c.epilogue ? Math.max(sum + bias, -0.25) : sum
    const got = outputs[0]![x * lc.strides[0]! + i * lc.strides[1]! + j * lc.strides[2]!]!
    const bound = (k + 4) * 2 ** -24 * (magnitude + Math.abs(bias)) + 1e-30
    const error = Math.abs(got - expected) / bound
    worst = Number.isNaN(error) ? Infinity : Math.max(worst, error)
  }
  return { outputs, worst }
}

const check = (c: Case) => {
  const { outputs, worst } = run(c)
  expect(worst).toBeLessThanOrEqual(1)
  for (const other of outputs.slice(1)) expect(Buffer.from(other.buffer).equals(Buffer.from(outputs[0]!.buffer)), "bits differ between splits").toBe(true)
}

const everyFeatures: Features[] = [{ relaxed: false, wide: false }, { relaxed: false, wide: true },
  ...(relaxedSimd ? [{ relaxed: true, wide: false }, { relaxed: true, wide: true }] : [])]
const layouts: Layout[] = ["row", "column", "gapped", "broadcast"]

describe.each(everyFeatures)("matmul, relaxed $relaxed, wide $wide", (features) => {
  test("within (K+4)·ε·Σ|a||b| of float64, and the same bits for any split of the units", () => {
    fc.assert(fc.property(
      fc.record({
        batch: fc.integer({ min: 1, max: 3 }),
        m: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 50 })),
        k: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 300 })),
        n: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 300 })),
        a: fc.constantFrom(...layouts),
        b: fc.constantFrom(...layouts),
        epilogue: fc.boolean(),
        result: fc.constantFrom("row" as const, "column" as const),
      }),
      (c) => check({ ...c, features }),
    ), { seed: 7, numRuns: 60 })
  })

  const cases: (Omit<Case, "features" | "epilogue" | "batch"> & { batch?: number })[] = [
    { m: 67, k: 600, n: 83, a: "row", b: "row" }, // several blocks of k, all tails
    { m: 67, k: 600, n: 83, a: "column", b: "column" },
    { m: 1100, k: 5, n: 17, a: "row", b: "column" }, // several row units
    { m: 600, k: 30, n: 20, a: "column", b: "row" },
    { m: 1, k: 1030, n: 517, a: "row", b: "column" }, // decoding
    { m: 4, k: 130, n: 517, a: "row", b: "row" },
    { m: 300, k: 70, n: 1, a: "row", b: "row" }, // matrix times vector: read as vector times matrix
    { m: 1, k: 1, n: 1, a: "row", b: "row" },
    { m: 8, k: 16, n: 8, a: "row", b: "column", batch: 9 },
    { m: 1, k: 64, n: 130, a: "row", b: "column", batch: 5 },
    { m: 7, k: 0, n: 9, a: "row", b: "row" }, // an empty sum is 0
    { m: 2, k: 0, n: 9, a: "row", b: "row" },
  ]
  test.each(cases)("$m × $k × $n, a $a, b $b", (c) => check({ batch: 1, epilogue: true, ...c, features }))
})

test("a product does not depend on how many rows are computed with it", () => {
  // Row 5 of a 6-row product is a partial tile in one plan and a full one in the other.
  const features = { relaxed: relaxedSimd, wide: true }
  const shape = { batch: 1, k: 300, n: 40, a: "row", b: "broadcast", epilogue: false, features } as const
  const [six, eight] = [run({ ...shape, m: 6 }), run({ ...shape, m: 8 })]
  expect(six.outputs[0]!.length).toBe(240)
  expect(eight.outputs[0]!.length).toBe(320)
})
