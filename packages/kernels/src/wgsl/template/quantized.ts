// Few rows times a weight stored in integer codes: activations are rounded to int8, and a group of threads takes some rows of
// W, each thread every so many blocks. Where activations are hardly more than read, every workgroup rounds them itself, and its
// threads share them: that costs less than another pass. Where they are computed, or workgroup memory is too small for them, a
// pass before rounds them; also on software, where a step of the demo model then takes a third of the time. A group may take the
// same rows of two W, whose results are made one.
import { each } from "./each.ts"
import { fixedSubgroup, joinAcross } from "./join.ts"
import { readsFast } from "./read.ts"
import { block, inScratch, inWorkgroup, roundedBytes, roundingPass, type Rounded, type Rounding } from "./rounding.ts"
import { normalizations, type Normalization } from "./rows.ts"
import type { Features, Holes, Lanes, Pass, PassHoles, PassText, Template } from "./holes.ts"

/** Rows up to which reading W is what takes time. */
export const fewRows = 8
/** Threads of a workgroup; on large adapters, where all that share rounded activations wait less for them. */
const fewThreads = 128, largeThreads = 1024
/** Groups of threads from which a small adapter is busy. */
const manyGroups = 1024
/** Columns from which a row of W is worth two subgroups of a large adapter. */
const longRow = 8192
/** Blocks of a thread that are read at once. */
const mostSteps = 4
/** Rows of two W each from which workgroups take twice as many, and round half as often. */
const manyRows = 8192

export interface QuantizedSizes { readonly m: number; readonly k: number; readonly n: number; readonly group: number; readonly low: number; readonly high: number; /** Of rows that are normalized. */ readonly eps: number }

interface Plan extends Rounding {
  readonly sizes: QuantizedSizes
  /** How many W there are, rows of each that a group takes at once, threads of a group, how often it takes rows, rows that a workgroup takes. */
  readonly products: 1 | 2
  readonly rows: number
  readonly group: number
  readonly turns: number
  readonly perUnit: number
}

const quantized = (norm?: Normalization): Template => ({
  pairs: true,
  accepts: (dims, features) => {
    const { m, k, group, low, high } = dims as unknown as QuantizedSizes
    return features.packedDot && features.threads >= fewThreads && m <= fewRows && k % block === 0 && (group % block === 0 || group === block / 2) && low >= -128 && high <= 127
  },
  passes({ dims, operands, features, kernel }: Holes) {
    const sizes = dims as unknown as QuantizedSizes, { k, n } = sizes, products = kernel.pair === true ? 2 : 1
    const loads = !features.software && readsFast(operands.x!.body), { threads, rows, group, turns } = spread(sizes, features, { loads, products })
    const perUnit = (threads / group) * rows * turns, has = (name: string): boolean => operands[name] !== undefined
    const plan: Plan = { sizes, features, norm, products, threads, rows, group, turns, perUnit, blocks: k / block, pieces: sizes.group < block ? 2 : 1, sums: has("zero") || has("min"), has }
    const held = loads && sharedBytes(plan) <= features.sharedBytes
    const product: Pass = { units: Math.ceil(n / perUnit), threads: [threads], write: (pass) => writeProduct(pass, plan, held ? inWorkgroup(pass, plan) : inScratch(pass, plan)) }
    return held ? [product] : [roundingPass(plan), product]
  },
})
export const quantizedMatmul = quantized(), rmsNormQuantizedMatmul = quantized(normalizations.rmsNorm), layerNormQuantizedMatmul = quantized(normalizations.layerNorm)

/** How rows of W are spread over threads: `loads` says whether workgroups round activations themselves. Of two W a group takes half as many rows of each. */
function spread({ m, k, n }: QuantizedSizes, features: Features, { loads, products }: { readonly loads: boolean; readonly products: 1 | 2 }): Pick<Plan, "threads" | "rows" | "group" | "turns"> {
  // A large adapter reads the faster, the more of its threads ask for memory.
  if (features.threads >= largeThreads && fixedSubgroup(features, largeThreads) === 32 && n >= manyGroups) {
    const group = k >= longRow ? 64 : 32
    return { threads: loads ? largeThreads : fewThreads, rows: loads && m <= 2 ? 2 / products : 1, group, turns: loads && group === 32 && products === 2 && n >= manyRows ? 2 : 1 }
  }
  const least = fixedSubgroup(features, fewThreads) ?? 32
  return {
    threads: fewThreads, rows: m <= 2 && n >= 4 * manyGroups ? 4 / products : n >= 2 * manyGroups ? 2 / products : 1,
    group: n < manyGroups / 4 && k >= block * fewThreads ? fewThreads : Math.min(fewThreads, Math.max(least, 16)), turns: 1,
  }
}

/** Workgroup memory for rounded activations, with room for joining sums. */
const sharedBytes = (plan: Plan): number => roundedBytes(plan) + plan.threads * 4 * plan.sizes.m * plan.rows * plan.products

function writeProduct(pass: PassHoles, plan: Plan, rounded: Rounded): PassText {
  const { sizes: { m, k, n, group: scaled }, features, threads, products, rows, group, turns, perUnit, blocks, pieces, sums: needsSums, has } = plan
  const words = 8 / pieces
  const scaleAt = (b: string, piece: number): string => (pieces === 2 ? `2 * ${b} + ${piece}` : scaled >= k ? "0" : scaled === block ? b : `${b} / ${scaled / block}`)
  const sum = (p: number, i: number, r: number): string => `sum${p}_${i}_${r}`
  const sums = each(products, (p) => each(m, (i) => each(rows, (r) => sum(p, i, r)))).flat(2)
  const joined = joinAcross(pass, features, { variables: sums, group, threads })
  const word = (name: string, i: number): string => `${name}[${i >> 2}][${i & 3}]`
  /** Steps of which all is read before something is added: those of a turn, if they are few and there are other turns; the names of each end with its number. */
  const steps = turns > 1 && blocks % group === 0 && blocks / group <= mostSteps ? blocks / group : 1
  const activations = (s: number): string => each(m, (i) => [
    `let q${i}_${s} = array<vec4<u32>, 2>(${rounded.codes}[${2 * i * blocks} + b${s}], ${rounded.codes}[${(2 * i + 1) * blocks} + b${s}]);`, `let step${i}_${s} = ${rounded.steps}[${i * blocks} + b${s}];`,
    ...(needsSums ? each(pieces, (p) => `let total${i}_${p}_${s} = ${rounded.totals}[(${i * blocks} + b${s}) * ${pieces} + ${p}];`) : []),
  ].join("\n")).join("\n")
  /** What is read of a block of a row of one W, and what that adds. */
  const reads = (which: number, r: number, s: number): string => {
    const read = (operand: string): string => pass.read(which === 0 ? operand : `${operand}2`), own = `${which}_${r}_${s}`
    return [
      `let row${own} = min(first + ${r}, ${n - 1});`, `let w${own} = ${pass.packed(which === 0 ? "code" : "code2")}(row${own}, b${s});`,
      ...each(pieces, (p) => [
        `let s${own}_${p} = ${read("scale")}(row${own}, ${scaleAt(`b${s}`, p)});`,
        ...(has("zero") ? [`let z${own}_${p} = f32(${read("zero")}(row${own}, ${scaleAt(`b${s}`, p)}));`] : []), ...(has("min") ? [`let l${own}_${p} = ${read("min")}(row${own}, ${scaleAt(`b${s}`, p)});`] : []),
      ]).flat(),
    ].join("\n")
  }
  const adds = (which: number, r: number, s: number): string => {
    const own = `${which}_${r}_${s}`
    return each(m, (i) => each(pieces, (p) => {
      const dot = each(words, (e) => `dot4I8Packed(${word(`w${own}`, p * words + e)}, ${word(`q${i}_${s}`, p * words + e)})`).join(" + ")
      const centered = has("zero") ? `(f32(${dot}) - z${own}_${p} * total${i}_${p}_${s})` : `f32(${dot})`
      const value = has("min") ? `(s${own}_${p} * ${centered} + l${own}_${p} * total${i}_${p}_${s})` : `s${own}_${p} * ${centered}`
      return `${sum(which, i, r)} += step${i}_${s} * (${value});`
    })).flat().join("\n")
  }
  const all = (of: (which: number, r: number, s: number) => string, s: number): string => each(rows, (r) => each(products, (p) => of(p, r, s)).join("\n")).join("\n")
  // Of one step a row after the other: of more rows at once a driver holds so much that fewer workgroups run beside each other.
  const summed = steps === 1 ? `${activations(0)}\n${all((...at) => `${reads(...at)}\n${adds(...at)}`, 0)}`
    : [...each(steps, (s) => `${s === 0 ? "" : `let b${s} = b0 + ${s * group};\n`}${all(reads, s)}`), ...each(steps, (s) => `${activations(s)}\n${all(adds, s)}`)].join("\n")
  const whole = rows > 1 && n % rows === 0
  const finish = pass.finish(whole ? (rows as Lanes) : 1)
  const finished = each(m, (i) => {
    const results = (of: (p: number) => string): string => each(products, of).join(", ")
    return whole
      ? `if (first < ${n}) { ${finish}(${i}, first / ${rows}, ${results((p) => `vec${rows}<f32>(${each(rows, (r) => sum(p, i, r))})`)}); }`
      : each(rows, (r) => `if (first + ${r} < ${n}) { ${finish}(${i}, first + ${r}, ${results((p) => sum(p, i, r))}); }`).join("\n")
  }).join("\n")
  return {
    declarations: `${joined.declarations}\n${rounded.declarations}`,
    body: `${rounded.before}
${turns === 1 ? "" : `for (var turn = 0; turn < ${turns}; turn++) {`}
let first = unit * ${perUnit}${turns === 1 ? "" : ` + turn * ${perUnit / turns}`} + thread / ${group} * ${rows};
${sums.map((v) => `var ${v} = 0f;`).join("\n")}
for (var b0 = thread % ${group}; b0 < ${blocks}; b0 += ${group * steps}) {
${summed}
}
${joined.text}
if (thread % ${group} == 0) {
${finished}
}
${turns === 1 ? "" : "}"}`,
  }
}
