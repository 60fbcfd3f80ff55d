// Products with few rows, or few columns: the other operand is read once, and reading it is all that takes time.
import { each } from "./each.ts"
import { fixedSubgroup, joinAcross } from "./join.ts"
import { lanesFor, quarters, readsFast } from "./read.ts"
import type { Holes, Lanes, Operand, Pass, PassHoles, PassText, Template } from "./holes.ts"

/** Rows up to which this beats tiles. */
const fewRows = 8
const threads = 128
/** Groups of threads from which a large adapter is busy. */
const manyGroups = 2048
/** Vectors side by side from which the few are computed once, by a pass before, unless they are there about as fast as if they were stored. */
const manyReaders = 256

/** The product seen as few vectors of length k times the many of the other operand. */
interface Sides {
  readonly k: number
  readonly few: number
  readonly many: number
  readonly fewOperand: Operand
  readonly manyOperand: Operand
  readonly fewName: "a" | "b"
  readonly manyName: "a" | "b"
  /** Axes of the operands that run along k. */
  readonly fewAxis: 1 | 2
  readonly manyAxis: 1 | 2
  /** Whether a pass before leaves the few in scratch memory. */
  readonly stored: boolean
}

function sidesOf({ dims, operands }: Holes): Sides {
  const { m, k, n } = dims as Record<"m" | "k" | "n", number>
  const sides = m <= n
    ? { k, few: m, many: n, fewOperand: operands.a!, manyOperand: operands.b!, fewName: "a", manyName: "b", fewAxis: 2, manyAxis: 1 } as const
    : { k, few: n, many: m, fewOperand: operands.b!, manyOperand: operands.a!, fewName: "b", manyName: "a", fewAxis: 1, manyAxis: 2 } as const
  return { ...sides, stored: sides.many >= manyReaders && sides.fewOperand.type === "f32" && !readsFast(sides.fewOperand.body) }
}

/** Vectors of four of the few, ⌈k/4⌉ to each. */
const scratchOf = (pass: PassHoles, { dims }: Holes, { k, few }: Sides): string => pass.scratch("few", "vec4<f32>", dims.batch! * few * Math.ceil(k / 4))

/** The pass before, that computes the few. */
function storing(holes: Holes, s: Sides): Pass {
  const fours = Math.ceil(s.k / 4), count = holes.dims.batch! * s.few * fours
  return {
    units: Math.ceil(count / threads), threads: [threads],
    write(pass) {
      const memory = scratchOf(pass, holes, s), read = pass.read(s.fewName, 4, s.fewAxis)
      return {
        body: `
let item = unit * ${threads} + thread;
if (item >= ${count}) { return; }
let batch = item / ${s.few * fours};
${memory}[item] = ${read}(${coordinates(s.fewAxis, `item % ${fours}`, `item / ${fours} % ${s.few}`)});`,
      }
    },
  }
}
/** Text of one of the few at a term, or of the four from 4 · `at` on. */
function fewAt(pass: PassHoles, holes: Holes, s: Sides, lanes: 1 | 4): (i: number, at: string) => string {
  if (!s.stored) {
    const read = pass.read(s.fewName, lanes, s.fewAxis)
    return (i, at) => `${read}(${coordinates(s.fewAxis, at, String(i))})`
  }
  const memory = scratchOf(pass, holes, s), fours = Math.ceil(s.k / 4)
  return (i, at) => (lanes === 4 ? `${memory}[(batch * ${s.few} + ${i}) * ${fours} + ${at}]` : `${memory}[(batch * ${s.few} + ${i}) * ${fours} + ${at} / 4][${at} % 4]`)
}
/** Coordinates of an operand, or of a result, whose axis along k (or along the few) is the last or the one before. */
const coordinates = (axis: 1 | 2, along: string, other: string): string => (axis === 2 ? `batch, ${other}, ${along}` : `batch, ${along}, ${other}`)

export const matmulFew: Template = {
  accepts: ({ m, n }, { threads: most }) => Math.min(m!, n!) <= fewRows && most >= threads,
  passes(holes) {
    const sides = sidesOf(holes)
    // Where no axis is known to be contiguous, that of the sum is: weights lie by rows.
    const otherAxis = sides.manyAxis === 1 ? 2 : 1
    const product = sides.manyOperand.contiguous !== otherAxis || sides.many < 8 ? dots(holes, sides) : columns(holes, sides)
    return sides.stored ? [storing(holes, sides), product] : [product]
  },
}

/** Vectors along k side by side in memory: a group of threads takes some of them, a thread every so many terms. */
function dots(holes: Holes, s: Sides): Pass {
  const { dims, features } = holes, batch = dims.batch!
  const vectors = s.many * batch >= 4 * manyGroups ? 4 : s.many * batch >= 2 * manyGroups ? 2 : 1
  // A group is a subgroup, or more where there are few vectors.
  const least = fixedSubgroup(features, threads) ?? 32
  const group = s.many * batch < manyGroups / 4 && s.k >= 1024 ? threads : Math.min(threads, Math.max(least, 16))
  const perUnit = (threads / group) * vectors, across = Math.ceil(s.many / perUnit)
  return { units: batch * across, threads: [threads], write: (pass) => writeDots(pass, holes, { ...s, vectors, group, perUnit, across }) }
}

interface Shared extends Sides { readonly vectors: number; readonly group: number; readonly perUnit: number; readonly across: number }

function writeDots(pass: PassHoles, holes: Holes, s: Shared): PassText {
  const { features } = holes
  const lanes = lanesFor(s.manyOperand, s.k)
  const readMany = pass.read(s.manyName, lanes, s.manyAxis), few = fewAt(pass, holes, s, 4)
  const sums = each(s.few, (i) => each(s.vectors, (r) => `sum${i}_${r}`)).flat()
  const joined = joinAcross(pass, features, { variables: sums, group: s.group, threads })
  const groups = Math.ceil(s.k / lanes)
  const body = [
    ...each(s.vectors, (r) => `let w${r} = ${readMany}(${coordinates(s.manyAxis, "g", `min(first + ${r}, ${s.many - 1})`)});`),
    ...quarters("", lanes).flatMap((part, q) => each(s.few, (i) => [
      `let x${i}_${q} = ${few(i, lanes === 4 ? "g" : `g * ${lanes / 4} + ${q}`)};`,
      ...each(s.vectors, (r) => `sum${i}_${r} += dot(x${i}_${q}, w${r}${part});`),
    ].join("\n"))),
  ].join("\n")
  const normal = s.manyName === "b", whole = normal && s.vectors > 1 && s.many % s.vectors === 0
  const finish = pass.finish(whole ? (s.vectors as Lanes) : 1)
  const finished = each(s.few, (i) => whole
    ? `if (first < ${s.many}) { ${finish}(batch, ${i}, first / ${s.vectors}, vec${s.vectors}<f32>(${each(s.vectors, (r) => `sum${i}_${r}`).join(", ")})); }`
    : each(s.vectors, (r) => `if (first + ${r} < ${s.many}) { ${finish}(${normal ? `batch, ${i}, first + ${r}` : `batch, first + ${r}, ${i}`}, sum${i}_${r}); }`).join("\n"))
  return {
    declarations: joined.declarations,
    body: `
let batch = unit / ${s.across};
let first = unit % ${s.across} * ${s.perUnit} + thread / ${s.group} * ${s.vectors};
${sums.map((v) => `var ${v} = 0f;`).join("\n")}
for (var g = thread % ${s.group}; g < ${groups}; g += ${s.group}) {
${body}
}
${joined.text}
if (thread % ${s.group} == 0) {
${finished.join("\n")}
}`,
  }
}

/** Neighbours across the vectors side by side: a thread takes a few of those, and every so many of the terms. */
function columns(holes: Holes, s: Sides): Pass {
  const { dims } = holes
  const across = lanesFor(s.manyOperand, s.many, 8), wide = 8, deep = threads / wide
  const perUnit = wide * across, units = Math.ceil(s.many / perUnit)
  return {
    units: dims.batch! * units, threads: [threads],
    write(pass) {
      const manyAcross = s.manyAxis === 1 ? 2 : 1
      const readMany = pass.read(s.manyName, across, manyAcross), few = fewAt(pass, holes, s, 1), normal = s.manyName === "b"
      const finish = pass.finish(normal ? 4 : 1)
      const parts = across / 4, sums = each(s.few, (i) => each(parts, (q) => `sum${i}_${q}`)).flat()
      const groups = Math.ceil(s.many / across)
      const inner = each(s.few, (i) => `let x${i} = ${few(i, "l")};\n${quarters("w", across).map((part, q) => `sum${i}_${q} += x${i} * ${part};`).join("\n")}`).join("\n")
      const put = (i: number, q: number): string => normal
        ? `if (g * ${parts} + ${q} < ${Math.ceil(s.many / 4)}) { ${finish}(batch, ${i}, g * ${parts} + ${q}, total); }`
        : each(4, (e) => `if (g * ${across} + ${4 * q + e} < ${s.many}) { ${finish}(batch, g * ${across} + ${4 * q + e}, ${i}, total[${e}]); }`).join(" ")
      const joins = each(s.few, (i) => each(parts, (q) => `partial[thread] = sum${i}_${q};
for (var half = ${deep / 2}; half > 0; half = half / 2) {
workgroupBarrier();
if (slice < half) { partial[thread] += partial[thread + half * ${wide}]; }
}
if (slice == 0) { let total = partial[thread]; ${put(i, q)} }
workgroupBarrier();`)).flat().join("\n")
      return {
        declarations: `var<workgroup> partial: array<vec4<f32>, ${threads}>;`,
        body: `
let batch = unit / ${units};
let g = unit % ${units} * ${wide} + thread % ${wide};
let slice = thread / ${wide};
${sums.map((v) => `var ${v} = vec4<f32>();`).join("\n")}
if (g < ${groups}) {
for (var l = slice; l < ${s.k}; l += ${deep}) {
let w = ${readMany}(${coordinates(s.manyAxis, "l", "g")});
${inner}
}
}
${joins}`,
      }
    },
  }
}
