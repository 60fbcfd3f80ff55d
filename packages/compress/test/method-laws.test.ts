import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { referenceDevice, useDevice } from "@thimble/core"
import { smoothScales, solveGptq, type MatrixShape } from "../src/index.ts"
import {
  checkDialect, checkFactors, checkFamily, checkObserver, checkPacking, checkPruner, checkRotations, checkSolver, checkStructure, checkSums, dialectLaws, factorLaws, familyLaws, observerLaws,
  packingLaws, prunerCounterexample, prunerLaws, rotationLaws, solverCounterexample, solverLaws, structureLaws, sumsLaws, type LawOptions, type Pruner, type PrunerLawName, type Solver, type SolverLawName,
} from "../src/laws/index.ts"
import { dialects, factors, families, observers, packers, pruners, rotations, solvers, structures, sums } from "./subjects.ts"

beforeAll(() => void useDevice(referenceDevice()))
const runs = Number(process.env.THIMBLE_RUNS ?? 40), options: LawOptions = { fc, runs }

interface Own { readonly name: string; readonly laws: readonly string[]; readonly counterexamples?: object }
/** Each obeys what it says, and what it says it does not obey is broken by its counterexample. */
function obey<S extends Own>(what: string, all: readonly S[], check: (s: S, o: LawOptions) => Promise<{ obeyed: readonly { law: string }[]; notObeyed: readonly { law: string }[] }>, laws: object): void {
  describe(what, () => {
    test.each(all.map((s) => [s.name, s] as const))("%s", async (name, s) => {
      const { obeyed, notObeyed } = await check(s, ["learned rounding", "adaround"].includes(name) ? { fc, runs: 5 } : options)
      expect(obeyed.map((o) => o.law)).toEqual(s.laws)
      expect(notObeyed.map((n) => n.law)).toEqual(Object.keys(s.counterexamples ?? {}))
    })
    test("each law is obeyed by one of them", () => expect([...new Set(all.flatMap((s) => [...s.laws]))].sort()).toEqual(Object.keys(laws).sort()))
  })
}
obey("solvers", solvers, checkSolver, solverLaws)
obey("factors", factors, checkFactors, factorLaws)
obey("rotations", rotations, checkRotations, rotationLaws)
obey("observers", observers, checkObserver, observerLaws)
obey("sums of calibration inputs", sums, checkSums, sumsLaws)
obey("pruners", pruners, checkPruner, prunerLaws)
obey("packings", packers, checkPacking, packingLaws)
obey("dialects of checkpoints, and one to another", dialects, checkDialect, dialectLaws)
obey("what is left out", structures, checkStructure, structureLaws)
obey("families of bits", families, checkFamily, familyLaws)

describe("a planted mistake in a solver is found, and shown on at most four columns", () => {
  const solver = (solve: Solver["solve"], laws: readonly SolverLawName[] = ["lossIdentity"]): Solver => ({ name: "mine", laws, solve, nearest: (w, shape) => solveGptq(w, shape, Float64Array.from({ length: shape[1] ** 2 }, (_, i) => (i % (shape[1] + 1) === 0 ? 1 : 0)), { bits: 3 }).values })
  const good: Solver["solve"] = (w, shape, h, s) => solveGptq(w, shape, h, { bits: 3, ...s })
  const smallest = async (solve: Solver["solve"], law: SolverLawName): Promise<void> => {
    const found = await solverCounterexample(solver(solve), solverLaws[law], { fc, seed: 1 })
    expect(found, law).toBeDefined()
    expect(found!.case.shape[0] * found!.case.shape[1]).toBeLessThanOrEqual(4)
    expect(found!.message).toContain(`mine breaks the law '${law}': ${solverLaws[law].statement}`)
  }
  test("a loss without its damping", () => smallest((w, shape, h, s) => ({ ...(solveGptq(w, shape, h, { bits: 3, ...s })), damping: 0 }), "lossIdentity"))
  test("corrections with the wrong sign", () => smallest((w, shape, h, s) => {
    const { values, ...rest } = solveGptq(w, shape, h, { bits: 3, ...s })
    return { ...rest, values: values.map((v, i) => 2 * w[i]! - v) }
  }, "diagonalIsNearest"))
  test("damping that is not relative", () => smallest((w, shape, h, s) => solveGptq(w, shape, h.map((v, i) => v + (i % (shape[1] + 1) === 0 ? 1 : 0)), { bits: 2, ...s }), "hessianScale"))
  test("rows that are solved with the grid of the first", () => smallest((w, shape, h, s) => {
    const all = solveGptq(w, shape, h, { bits: 3, ...s }).values
    return { values: all.map((v, i) => (i < shape[1] ? v : v + all[0]!)) }
  }, "rowOrder"))
  test("a fallback that is kept quiet", () => smallest((w, shape, h, s) => ({ ...solveGptq(w, shape, h, { bits: 3, ...s }), fallbacks: [] }), "singular"))
  test("weights that are written to", () => smallest((w, shape, h, s) => {
    const out = good(w, shape, h, s)
    w[0] = 7
    return out
  }, "sameAgain"))
})

describe("a planted mistake in a pruner is found", () => {
  const pruner = (keep: (w: Float64Array, shape: MatrixShape) => Uint8Array, laws: readonly PrunerLawName[]): Pruner => ({
    name: "mine", laws, sparsities: [0.5], scores: (w) => w.map(Math.abs),
    prune(w, shape) {
      const kept = keep(w, shape)
      return { kept, values: w.map((v, i) => (kept[i] ? v : 0)) }
    },
  })
  const half = (less: (a: number, b: number) => number) => (w: Float64Array, [rows, n]: MatrixShape): Uint8Array => {
    const kept = new Uint8Array(w.length).fill(1)
    for (let r = 0; r < rows; r++) Array.from({ length: n }, (_, i) => r * n + i).sort((a, b) => less(w[a]!, w[b]!)).slice(0, Math.floor(n / 2)).forEach((i) => (kept[i] = 0))
    return kept
  }
  const smallest = async (p: Pruner, law: PrunerLawName): Promise<void> => {
    const found = await prunerCounterexample(p, prunerLaws[law], { fc, seed: 1 })
    expect(found, law).toBeDefined()
    expect(found!.case.weights.length).toBeLessThanOrEqual(4)
  }
  test("signed scores", () => smallest(pruner(half((a, b) => a - b), []), "leastGo"))
  test("a threshold instead of a count", () => smallest(pruner((w) => Uint8Array.from(w, (v) => (Math.abs(v) > 0.5 ? 1 : 0)), []), "exactSparsity"))
  test("the last of equals goes", () => smallest(pruner((w, [rows, n]) => half((a, b) => Math.abs(a) - Math.abs(b))(w.slice().reverse(), [rows, n]).reverse(), []), "firstTiesGo"))
})

test("planted mistakes elsewhere are found", async () => {
  await expect(checkFactors({ name: "mine", laws: ["balanced"], factors: (w, [, n], x) => smoothScales(x.slice(0, n).map(Math.abs), w.slice(0, n).map(Math.abs)) }, { fc, seed: 1 })).rejects.toThrow("mine breaks the law 'balanced'")
  await expect(checkRotations({ name: "mine", laws: ["keepsLengths"], of: () => ({ apply: (x) => { x[0]! *= 2 }, undo: (x) => { x[0]! /= 2 } }) }, { fc, seed: 1 })).rejects.toThrow("a length of 1 becomes 2")
  await expect(checkObserver({ ...observers[0]!, name: "mine", counterexamples: {}, laws: ["countsAll"], make: () => ({ ...observers[0]!.make(), seen: 0 }) }, { fc, seed: 1 })).rejects.toThrow("values count as 0")
  await expect(checkPacking({ name: "mine", bits: 3, laws: ["unpacksAll"], pack: (q) => Uint8Array.from({ length: Math.ceil((q.length * 3) / 8) }, (_, i) => q[i] ?? 0), unpack: (p: Uint8Array, rows, columns) => p.slice(0, rows * columns), bytes: (r, c) => Math.ceil((r * c * 3) / 8) }, { fc, seed: 1 })).rejects.toThrow("mine breaks the law 'unpacksAll'")
  await expect(checkSums({ name: "mine", laws: ["tokenOrder"], make: (n) => ({ add: () => {}, result: () => Float64Array.of(Math.random(), n), tokens: 0 }) }, { fc, seed: 1 })).rejects.toThrow("mine breaks the law 'tokenOrder'")
  await expect(checkStructure({ name: "mine", laws: ["sparseReturns"], store: (w) => ({ wanted: w, back: w.map((v) => Math.abs(v)), bytes: 0, said: 0 }) }, { fc, seed: 1 })).rejects.toThrow("is read as")
  const v1 = dialects.find((d) => d.name === "gptq v1")!, v2 = dialects.find((d) => d.name === "gptq v2")!
  await expect(checkDialect({ ...v1, name: "mine", laws: ["zeroPointsReturn"], read: v2.read }, { fc, seed: 1 })).rejects.toThrow("mine breaks the law 'zeroPointsReturn'")
})

test("kept: GPTQ may lose more than rounding to nearest (G6), and stale grids depend on blocks (G4)", () => {
  const kept = (name: string): readonly string[] => Object.keys(solvers.find((s) => s.name === name)!.counterexamples ?? {})
  expect(kept("gptq, rows")).toContain("noWorseThanNearest")
  expect(kept("gptq, stale grids")).toEqual(["blockSize"])
})
