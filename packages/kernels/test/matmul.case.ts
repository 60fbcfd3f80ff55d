// Runs the matmul template on one set of shapes and layouts, beside the same product in float64.
import { expect } from "vitest"
import { ModuleBuilder } from "../src/emit/assembler.ts"
import type { Features } from "../src/template/holes.ts"
import { matmul } from "../src/template/matmul.ts"
import type { MatmulDims } from "../src/template/matmul.ts"
import { operand, phaseModule, result } from "./strided.ts"

export const relaxedSimd: boolean = (() => {
  const m = new ModuleBuilder()
  m.function(["v128"], ["v128"], (f, x) => { f.get(x); f.get(x); f.get(x); f.op("f32x4.relaxed_madd") })
  return WebAssembly.validate(m.finish())
})()

export const layouts = ["row", "column", "gapped", "broadcast", "repeated"] as const
export type Layout = (typeof layouts)[number]

export interface Case extends MatmulDims {
  readonly a: Layout
  readonly b: Layout
  readonly result?: "row" | "column"
  readonly epilogue: boolean
  readonly features: Features
  /** The operand that ends where the memory ends, so that reading past it traps. */
  readonly last?: "a" | "b"
}

export interface Outcome {
  /** Results for several splits of the units into ranges. */
  readonly outputs: readonly Float32Array[]
  /** Largest error, in units of the bound (K + 4)·ε·(Σ|a||b| + |bias|). */
  readonly worst: number
}

/** Strides of a [batch, rows, columns] array, and how many elements it takes. */
function layout(kind: Layout, batch: number, rows: number, columns: number): { strides: number[]; size: number } {
  const size = batch * rows * columns
  if (kind === "row") return { strides: [rows * columns, columns, 1], size }
  if (kind === "column") return { strides: [rows * columns, 1, rows], size }
  if (kind === "broadcast") return { strides: [0, columns, 1], size: rows * columns } // one matrix for the whole batch
  if (kind === "repeated") return { strides: [columns, 0, 1], size: batch * columns } // one row for the whole matrix
  return { strides: [2 * rows * columns, 2 * columns, 2], size: Math.max(0, 2 * size - 1) }
}

const splits = [
  (units: number) => [0, units],
  (units: number) => Array.from({ length: units + 1 }, (_, i) => i),
  (units: number) => [0, Math.floor(units / 3), Math.ceil(units / 2), units],
]

let modules = 0

export function run(c: Case): Outcome {
  const { batch, m, k, n } = c
  const [la, lb, lc] = [layout(c.a, batch, m, k), layout(c.b, batch, k, n), layout(c.result ?? "row", batch, m, n)]
  const align = (x: number) => Math.ceil(x / 64) * 64
  const at = { a: 0, b: 0, bias: 1024, c: align(1024 + 4 * n) + 64, scratch: 0 }
  at.scratch = align(at.c + 4 * lc.size) + 64

  const build = (pages: number) => phaseModule(pages, (scratch, threadScratch) => matmul(c, {
    a: operand({ address: at.a, strides: la.strides }),
    b: operand({ address: at.b, strides: lb.strides }),
    result: result({ address: at.c, strides: lc.strides }, c.epilogue ? { bias: { address: at.bias, strides: [0, 0, 1] }, floor: -0.25 } : undefined),
    scratch,
    threadScratch,
  }, c.features), `module${modules++}`) // V8 hands out the old code for the same bytes, whatever flags changed
  const sizes = build(1).template
  const thread = at.scratch + align(sizes.scratchBytes)
  const threadEnd = thread + sizes.threadScratchBytes
  const pages = Math.ceil((threadEnd + 64 + 4 * (la.size + lb.size)) / 65536)
  const [first, last] = c.last === "a" ? (["b", "a"] as const) : (["a", "b"] as const)
  const length = { a: la.size, b: lb.size }
  at[last] = pages * 65536 - 4 * length[last]
  at[first] = at[last] - 4 * length[first]

  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
  const { bytes, template } = build(pages)
  const phases = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } }).exports as
    Record<string, (scratch: number, thread: number, begin: number, end: number) => void>

  let state = 1
  const random = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) * 2 - 1
  const floats = new Float32Array(memory.buffer)
  const fill = (address: number, count: number) => { for (let i = 0; i < count; i++) floats[address / 4 + i] = random() }
  fill(at.a, la.size)
  fill(at.b, lb.size)
  fill(at.bias, n)

  const outputs = splits.map((split) => {
    floats.fill(NaN, at.c / 4 - 16, at[first] / 4)
    template.phases.forEach(({ units }, i) => {
      const cuts = split(units)
      for (let r = 0; r + 1 < cuts.length; r++) {
        floats.fill(NaN, thread / 4, threadEnd / 4)
        phases[`phase${i}`]!(at.scratch, thread, cuts[r]!, cuts[r + 1]!)
      }
    })
    const guards = [[at.c / 4 - 16, at.c / 4], [at.c / 4 + lc.size, at.scratch / 4], [threadEnd / 4, at[first] / 4]] as const
    for (const [from, to] of guards) expect(floats.subarray(from, to).every(Number.isNaN), "writes outside the result or scratch").toBe(true)
    return floats.slice(at.c / 4, at.c / 4 + lc.size)
  })

  let worst = 0
  const [aStep, bStep] = [la.strides[2]!, lb.strides[1]!]
  for (let x = 0; x < batch; x++) for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) {
    let [sum, magnitude] = [0, 0]
    let aAt = at.a / 4 + x * la.strides[0]! + i * la.strides[1]!
    let bAt = at.b / 4 + x * lb.strides[0]! + j * lb.strides[2]!
    for (let l = 0; l < k; l++, aAt += aStep, bAt += bStep) {
      const product = floats[aAt]! * floats[bAt]!
      sum += product
      magnitude += Math.abs(product)
    }
    const bias = c.epilogue ? floats[at.bias / 4 + j]! : 0
    const expected = c.epilogue ? Math.max(sum + bias, -0.25) : sum
    const got = outputs[0]![x * lc.strides[0]! + i * lc.strides[1]! + j * lc.strides[2]!]!
    const error = Math.abs(got - expected) / ((k + 4) * 2 ** -24 * (magnitude + Math.abs(bias)) + 1e-30)
    worst = Number.isNaN(error) ? Infinity : Math.max(worst, error)
  }
  return { outputs, worst }
}

export const sameBits = (x: Float32Array, y: Float32Array): boolean =>
  Buffer.from(x.buffer, x.byteOffset, x.byteLength).equals(Buffer.from(y.buffer, y.byteOffset, y.byteLength))

/** The law: close to float64, and the same bits for any split of the units. */
export function check(c: Case): void {
  const { outputs, worst } = run(c)
  expect(worst).toBeLessThanOrEqual(1)
  for (const other of outputs.slice(1)) expect(sameBits(other, outputs[0]!), "bits differ between splits").toBe(true)
}
