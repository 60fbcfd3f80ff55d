// What laws of other things than formats are tried on: every solver, factor, rotation, observer, sum, pruner, packing and dialect.
import { packing, readAwq, readCompressed, readGptq, readMlx, writeAwq, writeMlx, writePacked, writeGptq, type Bits, type GptqVersion, type IntegerCodes } from "../../formats/src/index.ts"
import {
  awqRound, awqScales, bitmask, columnAbsmax, convert, csr, keepCoupled, maskCoupled, nOfM, prepare, masked, traceCouplings, columnStatistics, ema, entropy, hessian, histogram, int, keptByRow, learnRounding, minMax, mse, percentile, rotation, smoothScales, solveAdaround, solveGptq, solveSparsegpt, wandaScores,
  type GptqOptions, type Matrices, type MatrixShape, type SparseFormat, type ObserverOptions, type Sparsity,
} from "../src/index.ts"
import { adamW, denseWeight, matmul, realize, relu, tensor, tensorsOf, valueAndGrad, type Tensor, type Weight } from "@thimble/core"
import { hostReader } from "../src/host.ts"
import type { Calibrated, DialectRows, Factors, Family, Observers, Packer, Pruner, Rotations, Solver, SolverLawName, Structure, Sums } from "../src/laws/index.ts"

const solverLaws: readonly SolverLawName[] = ["lossIdentity", "diagonalIsNearest", "dampedIsNearest", "onGridStays", "hessianScale", "rowOrder", "blockSize", "actOrder", "deadColumns", "singular", "sameAgain"]
/** One row of weights, and inputs of as many columns. */
const tried = (weights: readonly number[], inputs: readonly number[], pick = 0): Calibrated => ({ weights: Float32Array.from(weights), shape: [1, weights.length], inputs: Float32Array.from(inputs), tokens: inputs.length / weights.length, pick })
const gptqSolver = (name: string, options: GptqOptions, counterexamples: Solver["counterexamples"] = {}): Solver => ({
  name, laws: solverLaws.filter((l) => counterexamples[l] === undefined), counterexamples,
  solve: (w, shape, h, settings) => solveGptq(w, shape, h, { ...options, ...settings } as GptqOptions),
})
const nearestOfThree: Solver["nearest"] = (w, shape) => solveGptq(w, shape, Float64Array.from({ length: shape[1] ** 2 }, (_, i) => (i % (shape[1] + 1) === 0 ? 1 : 0)), { bits: 3 }).values
export const solvers: readonly Solver[] = [
  // A row has one grid, laid over all of its weights.
  gptqSolver("gptq, rows", { bits: 3 }, { deadColumns: tried([0, -1], [0, 1]), noWorseThanNearest: tried([1, 0, -1], [-2, -1, 0, 2, -1, -1]) }),
  gptqSolver("gptq, groups", { bits: 4, group: 4 }, { noWorseThanNearest: tried([0.014, -0.5, -0.13], [0, 0, 1, 0.5, 1, -1]) }),
  gptqSolver("gptq, static grids", { bits: 2, group: 4, grids: "static" }, { actOrder: tried([1, 73, 0, 0, 0], [0.13, 1, 1, 1, 1]) }),
  { ...gptqSolver("gptq, stale grids", { bits: 4, group: 4, grids: "stale" }, { blockSize: tried([1, -1, 0, 0, 0, 0, 0, 0], [1, 0.5, 0, 0, 0, 0, 0, 1]) }), unit: 4 },
  gptqSolver("gptq to a format", { format: int(4, { group: 5 }) }),
  {
    name: "learned rounding", laws: ["noWorseThanNearest"],
    async solve(w, shape, h) { return { values: (await learnRounding(w, shape, h, { bits: 3, steps: 4 })).values } },
    nearest: nearestOfThree,
  },
  {
    name: "adaround", laws: ["onGridStays", "hessianScale", "rowOrder", "noWorseThanNearest", "sameAgain"],
    async solve(w, shape, h) { return { values: (await solveAdaround(w, shape, h, { bits: 3, steps: 8 })).values } },
    nearest: nearestOfThree,
  },
]

export const factors: readonly Factors[] = [
  ...(["activation", "both"] as const).map((scaling): Factors => ({
    name: `awq, ${scaling}`, unit: 4, laws: ["usableFactors", "sameFunction", "searchNoWorse"],
    factors: (w, shape, x) => awqScales(w, shape, x, { bits: 3, group: 4, points: 6, scaling }).scales,
    round: (w, shape) => awqRound(w, shape[1], 3, 4).values,
  })),
  ...[0.5, 0.8].map((alpha): Factors => ({
    name: `smoothquant ${alpha}`, laws: ["usableFactors", "sameFunction", ...(alpha === 0.5 ? ["balanced"] as const : [])],
    factors: (w, [, n], x) => smoothScales(columnAbsmax(n, x), columnAbsmax(n, w), { alpha }),
    counterexamples: alpha === 0.5 ? {} : { balanced: { weights: Float32Array.of(1), shape: [1, 1], inputs: Float32Array.of(2), tokens: 1, pick: 0 } },
  })),
]

export const rotations: readonly Rotations[] = [
  ...(["hadamard", "randomHadamard"] as const).map((kind): Rotations => ({ name: kind, laws: ["undoes", "keepsLengths"], of: (size, seed) => rotation(size, { kind, seed }) })),
  { name: "hadamard, where there is one", sizes: [1, 2, 4, 8, 12, 16, 20, 28], laws: ["undoes", "keepsLengths", "spreads"], of: (size, seed) => rotation(size, { seed }) },
  // Random matrices are orthogonal, but their entries are not all equally large.
  { name: "orthogonal", laws: ["undoes", "keepsLengths"], of: (size, seed) => rotation(size, { kind: "orthogonal", seed }), counterexamples: { spreads: { values: Float32Array.of(1, 0), size: 2, pick: 1 } } },
]

const codes = { symmetric: [-127, 127], asymmetric: [0, 255] } as const
export const observers: readonly Observers[] = (["symmetric", "asymmetric"] as const).flatMap((range): Observers[] => {
  const o: ObserverOptions = { range }, whole = (): ReturnType<typeof minMax> => minMax(o)
  return [
    { name: `min–max, ${range}`, codes: codes[range], whole, make: whole, laws: ["batchOrder", "countsAll", "withinData", "growsWithData", "likeWhole", "noWorseThanWhole"] },
    { name: `percentile 100, ${range}`, codes: codes[range], whole, make: () => histogram(percentile(100), o), laws: ["batchOrder", "countsAll", "withinData", "growsWithData", "likeWhole", "noWorseThanWhole"] },
    { name: `percentile 90, ${range}`, codes: codes[range], whole, make: () => histogram(percentile(90), { ...o, bins: 256 }), laws: ["batchOrder", "countsAll", "withinData"] },
    { name: `mse, ${range}`, codes: codes[range], whole, make: () => histogram(mse({ points: 20 }), { ...o, bins: 1024 }), laws: ["batchOrder", "countsAll", "withinData", "noWorseThanWhole"] },
    { name: `entropy, ${range}`, codes: codes[range], whole, make: () => histogram(entropy({ bins: 64, points: 20 }), { ...o, bins: 256 }), laws: ["batchOrder", "countsAll", "withinData"] },
    { name: `running mean, ${range}`, codes: codes[range], whole, make: () => ema(o), laws: ["countsAll", "withinData", "growsWithData"], counterexamples: { batchOrder: { values: Float32Array.of(1, 2), pick: 1 } } },
  ]
})

export const sums: readonly Sums[] = [
  { name: "hessian", laws: ["tokenOrder", "countsTokens"], make: (n) => { const h = hessian(n); return { add: (x, t) => h.add(x, t), result: () => h.matrix(), get tokens() { return h.tokens } } } },
  { name: "column statistics", laws: ["tokenOrder", "countsTokens"], make: (n) => { const s = columnStatistics(n); return { add: (x, t) => s.add(x, t), result: () => Float64Array.of(...s.means(), ...s.meanSquares()), get tokens() { return s.tokens } } } },
]

const meanSquares = (x: Float64Array, tokens: number, columns: number): Float64Array => {
  const out = new Float64Array(columns)
  x.forEach((v, i) => (out[i % columns]! += (v * v) / Math.max(1, tokens)))
  return out
}
const byScores = (name: string, scores: NonNullable<Pruner["scores"]>, more: Pick<Pruner, "laws" | "counterexamples">): Pruner => ({
  name, scores, ...more,
  prune(w, shape, x, tokens, sparsity) {
    const kept = keptByRow(scores(w, shape, x, tokens) as Float64Array, shape, sparsity)
    return { kept, values: w.map((v, i) => (kept[i] ? v : 0)) }
  },
})
const hessianFrom = (x: Float64Array, tokens: number, n: number): Float64Array => {
  const h = hessian(n)
  if (tokens > 0) h.add(x, tokens)
  return h.matrix()
}
const sparsegpt = (name: string, sparsities: readonly Sparsity[], more: Pick<Pruner, "laws" | "over" | "gone" | "counterexamples">): Pruner => ({
  name, sparsities, ...more,
  prune: (w, shape: MatrixShape, x, tokens, sparsity) => solveSparsegpt(w, shape, hessianFrom(x, tokens, shape[1]), { sparsity }),
})
export const pruners: readonly Pruner[] = [
  byScores("magnitude", (w) => w.map(Math.abs), { laws: ["exactSparsity", "leastGo", "firstTiesGo", "pruningStays", "keptUnchanged", "inputScale", "equalInputs"] }),
  byScores("wanda", (w, shape, x, tokens) => wandaScores(w, shape, meanSquares(x, tokens, shape[1])), { laws: ["exactSparsity", "leastGo", "firstTiesGo", "pruningStays", "keptUnchanged", "inputScale", "inputColumn", "equalInputs"] }),
  sparsegpt("sparsegpt, a share", [0.5], { over: "matrix", gone: (share, n) => Math.floor(share * n) + 1, laws: ["prunerLoss", "diagonalPruning", "inputScale"] }),
  sparsegpt("sparsegpt, 2:4", [{ keep: 2, of: 4 }], { laws: ["exactSparsity", "prunerLoss", "diagonalPruning", "inputScale"] }),
]

export const packers: readonly Packer<never>[] = ([1, 2, 3, 4, 5, 6, 7, 8] as const).map((bits) => {
  const p = packing(bits)
  return {
    name: `${bits} bits`, bits, laws: ["unpacksAll", "paddingZero", "packedBytes"],
    pack: (q: Uint8Array, rows: number, columns: number) => p.pack(q, [rows, columns]), unpack: (parts: ReturnType<typeof p.pack>, rows: number, columns: number) => p.unpack(parts, [rows, columns]), bytes: (rows: number, columns: number) => p.bytes([rows, columns]),
  } as unknown as Packer<never>
})

const gptqRows = (version: GptqVersion): DialectRows => ({
  name: `gptq v${version}`, bits: [2, 3, 4, 8], group: 32, ordered: true, laws: ["codesReturn", "zeroPointsReturn", "valuesReturn", "groupsReturn"],
  write: (c) => writeGptq("m", c as IntegerCodes<4>, { version }), read: (t, like) => readGptq("m", t, like.shape, { version, group: like.group, symmetric: like.zeros === undefined }),
})
const awqRows: DialectRows = {
  name: "awq", bits: [4], group: 32, laws: ["codesReturn", "zeroPointsReturn", "valuesReturn", "groupsReturn"],
  write: (c) => writeAwq("m", c as IntegerCodes<4>), read: (t, like) => readAwq("m", t, like.shape, { group: like.group }),
}
const g2 = gptqRows(2)
export const dialects: readonly DialectRows[] = [
  gptqRows(1), g2, awqRows,
  {
    name: "compressed-tensors", bits: [1, 2, 3, 4, 5, 6, 7, 8], group: 16, ordered: true, laws: ["codesReturn", "zeroPointsReturn", "valuesReturn", "groupsReturn"],
    write: (c) => writePacked("m", c), read: (t, like) => readCompressed("m", t, like.shape, { num_bits: like.bits as Bits, type: "int", symmetric: like.zeros === undefined, strategy: "group", group_size: like.group }) as IntegerCodes,
  },
  {
    name: "mlx", bits: [2, 3, 4, 5, 6, 8], group: 32, laws: ["codesReturn", "groupsReturn"],
    write: (c) => writeMlx("m", c as IntegerCodes<4>), read: (t, like) => readMlx("m", t, like.shape, { group: like.group }),
    // It has minima instead.
    counterexamples: { zeroPointsReturn: { codes: { kind: "integer", bits: 4, shape: [1, 32], group: 32, codes: new Uint8Array(32), scales: { data: Uint16Array.of(0x3c00), shape: [1, 1], dtype: "f16" }, zeros: Uint8Array.of(3) } } },
  },
  // From one to the other, by way of canonical codes.
  { ...awqRows, name: "gptq → awq", write: (c) => writeAwq("m", g2.read(g2.write(c), c) as IntegerCodes<4>) },
  { ...g2, name: "awq → gptq", bits: [4], ordered: false, write: (c) => g2.write(awqRows.read(awqRows.write(c), c)) },
]

export const families: readonly Family[] = [
  { name: "int f32", bits: [2, 8], laws: ["boundHalves"], of: (b) => int(b as 4, { group: 8, scales: "f32" }) as never },
  { name: "int asymmetric f32", bits: [1, 8], laws: ["boundHalves"], of: (b) => int(b as 4, { range: "asymmetric", scales: "f32" }) as never },
  // The rounding of scales in f16 is the same however many bits codes have, and weighs more where steps are small.
  { name: "int f16", bits: [2, 8], laws: [], of: (b) => int(b as 4) as never, counterexamples: { boundHalves: { values: Float32Array.of(1), bits: 7 } } },
]

interface One extends Matrices<One> { readonly weights: Readonly<Record<"w", Weight>> }
const one = (w: Weight): One => ({ weights: { w }, vectors: {}, with: (changed) => one((changed.w as Weight | undefined) ?? w) })
const storage = (name: string, format: SparseFormat, unit = 1, sparsity: Sparsity = 0.5): Structure => ({
  name, unit, laws: ["sparseReturns", "sparseBytes"],
  store(weights, shape) {
    const kept = keptByRow(weights.map(Math.abs), shape, sparsity), values = weights.map((v, i) => (kept[i] ? v : 0)), parts = format.encode(values, shape)
    const read = hostReader(format, parts, shape), back = values.map((_, i) => read.value(Math.floor(i / shape[1]), i % shape[1]))
    // Of N of M all N are stored.
    const elements = typeof sparsity === "number" ? values.reduce((n, v) => n + Number(v !== 0), 0) : (values.length * sparsity.keep) / sparsity.of
    return { wanted: values, back, bytes: Object.values(parts).reduce((n, p) => n + p.data.byteLength, 0), said: format.storedBytes(shape, elements) }
  },
})
export const structures: readonly Structure[] = [
  storage("csr", csr()), storage("bitmask", bitmask()), storage("2:4", nOfM(2, 4), 4, { keep: 2, of: 4 }),
  {
    name: "sparse training", laws: ["zerosStay"],
    async train(weights, shape) {
      let model = await prepare(one(denseWeight(tensor(weights, { shape }))), { default: masked(0.5) })
      const before = (await model.weights.w.dense().data()).slice() as Float32Array, optimizer = adamW({ rate: 0.05 }), step = valueAndGrad((m: One) => m.weights.w.dense().sub(1).square().mean())
      let state = optimizer.init(model)
      await realize(...tensorsOf(state))
      for (let i = 0; i < 2; i++) {
        const made = optimizer.update(model, step(model).grads, state)
        await realize(...tensorsOf(made))
        ;({ parameters: model, state } = made)
      }
      return { kept: keptByRow(weights.map(Math.abs), shape, 0.5), before, after: await (await convert(model)).weights.w.dense().data() as Float32Array }
    },
  },
  {
    // Two products with a rectifier between: hidden features are rows of the first matrix and columns of the second.
    name: "coupled channels", laws: ["compactIsMasked", "compactCounts"],
    async compact(weights, [hidden, columns], pick) {
      const w = { first: tensor(weights, { shape: [hidden, columns] }), second: tensor(weights.map((v, i) => v + (i % 3)), { shape: [columns, hidden] }) }, x = tensor(weights.slice(0, columns), { shape: [1, columns] })
      const fn = (x: Tensor, p: typeof w): Tensor => matmul(relu(matmul(x, p.first.T)), p.second.T), coupling = traceCouplings((x) => fn(x as Tensor, w), [x], w).find((c) => c.axes.some((a) => a.weight === "second" && a.axis === 1))
      const kept = Array.from({ length: hidden }, (_, i) => i).filter((i) => i === 0 || (pick >> (i % 8)) % 2 === 0), less = coupling ? await keepCoupled(w, coupling, kept) : w, masked = coupling ? await maskCoupled(w, coupling, kept) : w
      return { masked: await fn(x, masked).data() as Float32Array, compacted: await fn(x, less).data() as Float32Array, left: less.first.size + less.second.size, said: 2 * kept.length * columns }
    },
  },
]
