// Few rows times a weight stored in integer codes: activations are rounded to int8 in blocks of 32, and a group of threads
// takes some rows of W, each thread every so many blocks. Where activations are hardly more than read, every workgroup
// rounds them itself, and its threads share them: that costs less than another pass. Where they are computed, or workgroup
// memory is too small for them, they are rounded in a pass before; also on software, where a step of the demo model then takes
// a third of the time. Whoever rounds them may normalize their rows first, and
// a group may take the same rows of two W, whose results are made one.
import { flatten, type Expr } from "@thimble/core"
import { fixedSubgroup, joinAcross, largest } from "./join.ts"
import { folding, normalizations, type Normalization, type RowRead } from "./rows.ts"
import type { Features, Holes, Lanes, Pass, PassHoles, PassText, Template } from "./holes.ts"

/** Rows up to which reading W is what takes time. */
export const fewRows = 8
/** Neighbours that share an activation scale; as in core's definition of quantizedMatmul. */
export const block = 32
/** Threads that round a block in a pass of its own, four neighbours each. */
export const perBlock = 8
/** Threads of a workgroup; on large adapters, where all that share rounded activations wait less for them. */
const fewThreads = 128, largeThreads = 1024
/** Groups of threads from which a small adapter is busy. */
const manyGroups = 1024
/** Columns from which a row of W is worth two subgroups of a large adapter. */
const longRow = 8192

export interface QuantizedSizes { readonly m: number; readonly k: number; readonly n: number; readonly group: number; readonly low: number; readonly high: number; /** Of rows that are normalized. */ readonly eps: number }

interface Plan {
  readonly sizes: QuantizedSizes
  readonly features: Features
  readonly threads: number
  /** What is done to rows of activations before they are rounded. */
  readonly norm: Normalization | undefined
  /** How many W there are, rows of each that a group takes, threads of a group, rows that a workgroup takes. */
  readonly products: 1 | 2
  readonly rows: number
  readonly group: number
  readonly perUnit: number
  readonly blocks: number
  /** A piece is what shares a scale on both sides: a block, or half of one. */
  readonly pieces: 1 | 2
  /** Whether sums of activations are asked for, by zeros or minima. */
  readonly sums: boolean
  has(operand: string): boolean
}

const quantized = (norm?: Normalization): Template => ({
  pairs: true,
  accepts: (dims, features) => {
    const { m, k, group, low, high } = dims as unknown as QuantizedSizes
    return features.packedDot && features.threads >= fewThreads && m <= fewRows && k % block === 0 && (group % block === 0 || group === block / 2) && low >= -128 && high <= 127
  },
  passes({ dims, operands, features, kernel }: Holes) {
    const sizes = dims as unknown as QuantizedSizes, { m, k, n } = sizes, products = kernel.pair === true ? 2 : 1
    const loads = !features.software && readsFast(operands.x!.body), { threads, rows, group } = spread(sizes, features, { loads, products })
    const perUnit = (threads / group) * rows, has = (name: string): boolean => operands[name] !== undefined
    const plan: Plan = { sizes, features, norm, products, threads, rows, group, perUnit, blocks: k / block, pieces: sizes.group < block ? 2 : 1, sums: has("zero") || has("min"), has }
    const held = loads && sharedBytes(plan) <= features.sharedBytes
    const product: Pass = { units: Math.ceil(n / perUnit), threads: [threads], write: (pass) => writeProduct(pass, plan, held ? inWorkgroup(pass, plan) : inScratch(pass, plan)) }
    return held ? [product] : [{ units: Math.ceil((m * plan.blocks * perBlock) / fewThreads), threads: [fewThreads], write: (pass) => writeRounding(pass, plan) }, product]
  },
})
export const quantizedMatmul = quantized(), rmsNormQuantizedMatmul = quantized(normalizations.rmsNorm), layerNormQuantizedMatmul = quantized(normalizations.layerNorm)

/** Operations of which a few for each activation take longer than another pass. */
const slow: ReadonlySet<string> = new Set(["div", "rem", "sqrt", "exp", "log", "pow", "sin", "cos", "atan", "tanh", "erf"])
/** Whether activations are there about as fast as if they were stored. */
function readsFast(x: Expr): boolean {
  const all = flatten([x])
  return all.length <= 24 && all.filter((e) => e.op === "load").length <= 2 && !all.some((e) => e.type === "f32" && slow.has(e.op))
}

/** How rows of W are spread over threads: `loads` says whether workgroups round activations themselves. Of two W a group takes half as many rows of each. */
function spread({ m, k, n }: QuantizedSizes, features: Features, { loads, products }: { readonly loads: boolean; readonly products: 1 | 2 }): Pick<Plan, "threads" | "rows" | "group"> {
  // A large adapter reads the faster, the more of its threads ask for memory.
  if (features.threads >= largeThreads && fixedSubgroup(features, largeThreads) === 32 && n >= manyGroups)
    return { threads: loads ? largeThreads : fewThreads, rows: loads && m <= 2 ? 2 / products : 1, group: k >= longRow ? 64 : 32 }
  const least = fixedSubgroup(features, fewThreads) ?? 32
  return {
    threads: fewThreads, rows: m <= 2 && n >= 4 * manyGroups ? 4 / products : n >= 2 * manyGroups ? 2 / products : 1,
    group: n < manyGroups / 4 && k >= block * fewThreads ? fewThreads : Math.min(fewThreads, Math.max(least, 16)),
  }
}

const each = <T>(count: number, of: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => of(i))

/** Where rounded activations are: arrays of words [m, 2, blocks], so that neighbours in memory are of neighbouring blocks, of steps [m, blocks], of sums [m, blocks, pieces]. */
interface Rounded { readonly codes: string; readonly steps: string; readonly totals: string; readonly declarations: string; readonly before: string }

/** Workgroup memory for rounded activations, with room for joining sums. */
const sharedBytes = ({ sizes: { m, k }, blocks, pieces, sums, products, rows, threads, norm }: Plan): number =>
  m * k + m * blocks * 4 * (1 + (sums ? pieces : 0)) + threads * 4 * m * rows * products + (norm === undefined ? 0 : norm.known.length * (4 * m + 4 * threads))

export const divider = (pass: PassHoles, { numbers }: Features) => (a: string, b: string): string => (numbers.exactDivision ? `${a} / ${b}` : `${pass.math("div")}(${a}, ${b})`)
/** 127/amax, and 0 where amax is 0. */
export const rateOf = (divide: (a: string, b: string) => string): string => `select(${divide("127f", "select(amax, 1f, amax == 0f)")}, 0f, amax == 0f)`

/** Activations as they are rounded. */
interface Activations {
  readonly declarations: string
  /** Statements that all threads of a workgroup run before the others. */
  readonly before: string
  /** Four neighbours of `row`, from 4 · `at` on. */
  read(at: string): string
}
/** `rows`: the first row that the workgroup rounds, and the last one. */
function activationsOf(pass: PassHoles, { sizes: { m, k, eps }, features, norm, has }: Plan, threads: number, rows: readonly [first: string, last: string]): Activations {
  const x = pass.read("x", 4, 1)
  if (norm === undefined) return { declarations: "", before: "", read: (at) => `${x}(row, ${at})` }
  const declarations = norm.known.map((name) => `var<workgroup> ${name}OfRow: array<f32, ${m}>;`)
  const each = (of: (v: string, at: string) => string): string => `for (var g = thread; g < ${k / 4}; g += ${threads}) {\nlet v = ${x}(row, g);\n${of("v", "g")}\n}`
  const row: RowRead = { pass, columns: k, eps, within: (v) => v, fold: folding(pass, features, { each, group: threads, threads, declare: (text) => void declarations.push(text) }) }
  const before = `for (var row = ${rows[0]}; row <= ${rows[1]}; row++) {
${norm.find(row)}
if (thread == 0) { ${norm.known.map((name) => `${name}OfRow[row] = ${name};`).join(" ")} }
workgroupBarrier();
}`
  return { declarations: declarations.join("\n"), before, read: (at) => norm.value(row, has, `${x}(row, ${at})`, at, (name) => `${name}OfRow[row]`) }
}

function inWorkgroup(pass: PassHoles, plan: Plan): Rounded {
  const { sizes: { m }, features, threads, blocks, pieces, sums } = plan
  const activations = activationsOf(pass, plan, threads, ["0", `${m - 1}`])
  const declarations = [activations.declarations, `var<workgroup> codes: array<vec4<u32>, ${2 * m * blocks}>;`, `var<workgroup> steps: array<f32, ${m * blocks}>;`, ...(sums ? [`var<workgroup> totals: array<f32, ${m * blocks * pieces}>;`] : [])]
  const swaps = (fixedSubgroup(features, threads) ?? 1) >= perBlock
  const rounded = { codes: "codes", steps: "steps", totals: "totals" }
  if (swaps) {
    // Threads swap words, so that four are written at once.
    const store = `let others = vec3<u32>(${[1, 2, 3].map((i) => `subgroupShuffleDown(word, ${i}u)`).join(", ")});
if (at < ${m * blocks * perBlock} && e % 4 == 0) { codes[(row * 2 + e / 4) * ${blocks} + b] = vec4<u32>(word, others); }`
    const { text } = sharedRounding(pass, plan, { ...rounded, activations, store, threads })
    return { ...rounded, declarations: declarations.join("\n"), before: `\n${activations.before}\nfor (var begun = 0; begun < ${m * blocks * perBlock}; begun += ${threads}) {\nlet at = begun + thread;\n${text}\n}\nworkgroupBarrier();` }
  }
  const divide = divider(pass, features), words = 8 / pieces
  return {
    ...rounded, declarations: declarations.join("\n"),
    before: `
${activations.before}
for (var item = thread; item < ${m * blocks}; item += ${threads}) {
let row = item / ${blocks};
let b = item % ${blocks};
${each(8, (e) => `let x${e} = ${activations.read(`b * 8 + ${e}`)};`).join("\n")}
let most = max(${each(2, (h) => `max(max(abs(x${4 * h}), abs(x${4 * h + 1})), max(abs(x${4 * h + 2}), abs(x${4 * h + 3})))`).join(", ")});
let amax = max(max(most.x, most.y), max(most.z, most.w));
steps[item] = ${divide("amax", "127f")};
let rate = ${rateOf(divide)};
${each(8, (e) => `let r${e} = vec4<i32>(round(x${e} * rate));`).join("\n")}
${each(2, (h) => `codes[row * ${2 * blocks} + ${h * blocks} + b] = vec4<u32>(${each(4, (e) => `pack4xI8(r${4 * h + e})`).join(", ")});`).join("\n")}
${sums ? each(pieces, (p) => `{ let s = ${each(words, (e) => `r${p * words + e}`).join(" + ")}; totals[item * ${pieces} + ${p}] = f32(s.x + s.y + s.z + s.w); }`).join("\n") : ""}
}
workgroupBarrier();`,
  }
}

interface Places { readonly activations: Activations; readonly steps: string; readonly totals: string; /** Stores `word`, the four codes of thread `e`. */ readonly store: string; readonly threads: number }

/** Eight neighbouring threads round a block, `at` being the number of a thread among all of them. */
function sharedRounding(pass: PassHoles, { sizes: { m }, features, blocks, pieces, sums }: Plan, { activations, steps, totals, store, threads }: Places): { declarations: string; text: string } {
  const divide = divider(pass, features), count = m * blocks, own = perBlock / pieces
  const most = joinAcross(pass, features, { variables: ["amax"], group: perBlock, threads, how: largest, name: "most" })
  const total = sums ? joinAcross(pass, features, { variables: ["total"], group: own, threads, name: "sums" }) : undefined
  return {
    declarations: [most.declarations, total?.declarations ?? ""].join("\n"),
    text: `let item = min(at / ${perBlock}, ${count - 1});
let row = item / ${blocks};
let b = item % ${blocks};
let e = at % ${perBlock};
let x = ${activations.read(`b * ${perBlock} + e`)};
let size = abs(x);
var amax = max(max(size.x, size.y), max(size.z, size.w));
${most.text}
let rate = ${rateOf(divide)};
let r = vec4<i32>(round(x * rate));
${total === undefined ? "" : `var total = f32(r.x + r.y + r.z + r.w);\n${total.text}`}
let word = pack4xI8(r);
${store}
if (at < ${count * perBlock}) {
if (e == 0) { ${steps}[item] = ${divide("amax", "127f")}; }
${total === undefined ? "" : `if (e % ${own} == 0) { ${totals}[item * ${pieces} + e / ${own}] = total; }`}
}`,
  }
}

const inScratch = (pass: PassHoles, { sizes: { m }, blocks, pieces, sums }: Plan): Rounded =>
  ({ codes: pass.scratch("codes", "vec4<u32>", 2 * m * blocks), steps: pass.scratch("steps", "f32", m * blocks), totals: sums ? pass.scratch("totals", "f32", m * blocks * pieces) : "", declarations: "", before: "" })

function writeRounding(pass: PassHoles, plan: Plan): PassText {
  const { sizes: { m }, blocks, pieces, sums } = plan
  const codes = pass.scratch("codes", "u32", 8 * m * blocks), steps = pass.scratch("steps", "f32", m * blocks), totals = sums ? pass.scratch("totals", "f32", m * blocks * pieces) : ""
  const store = `if (at < ${m * blocks * perBlock}) { ${codes}[((row * 2 + e / 4) * ${blocks} + b) * 4 + e % 4] = word; }`
  const own = fewThreads / perBlock, rowOf = (item: string): string => `min((${item}) / ${blocks}, ${m - 1})`
  const activations = activationsOf(pass, plan, fewThreads, [rowOf(`unit * ${own}`), rowOf(`unit * ${own} + ${own - 1}`)])
  const { declarations, text } = sharedRounding(pass, plan, { activations, steps, totals, store, threads: fewThreads })
  return { declarations: `${activations.declarations}\n${declarations}`, body: `${activations.before}\nlet at = unit * ${fewThreads} + thread;\n${text}` }
}

function writeProduct(pass: PassHoles, { sizes: { m, k, n, group: scaled }, features, threads, products, rows, group, perUnit, blocks, pieces, sums: needsSums, has }: Plan, rounded: Rounded): PassText {
  const words = 8 / pieces
  const scaleAt = (piece: number): string => (pieces === 2 ? `2 * b + ${piece}` : scaled >= k ? "0" : scaled === block ? "b" : `b / ${scaled / block}`)
  const sum = (p: number, i: number, r: number): string => `sum${p}_${i}_${r}`
  const sums = each(products, (p) => each(m, (i) => each(rows, (r) => sum(p, i, r)))).flat(2)
  const joined = joinAcross(pass, features, { variables: sums, group, threads })
  const word = (name: string, i: number): string => `${name}[${i >> 2}][${i & 3}]`
  const activations = each(m, (i) => [
    `let q${i} = array<vec4<u32>, 2>(${rounded.codes}[${2 * i * blocks} + b], ${rounded.codes}[${(2 * i + 1) * blocks} + b]);`, `let step${i} = ${rounded.steps}[${i * blocks} + b];`,
    ...(needsSums ? each(pieces, (p) => `let total${i}_${p} = ${rounded.totals}[(${i * blocks} + b) * ${pieces} + ${p}];`) : []),
  ].join("\n")).join("\n")
  /** Adds what a block of a row of one W gives. */
  const product = (which: number, r: number): string => {
    const name = (operand: string): string => (which === 0 ? operand : `${operand}2`)
    const code = pass.packed(name("code")), scale = pass.read(name("scale"))
    const zero = has("zero") ? pass.read(name("zero")) : undefined, least = has("min") ? pass.read(name("min")) : undefined
    return `
{
let row = min(first + ${r}, ${n - 1});
let w = ${code}(row, b);
${each(pieces, (p) => {
      const scales = [`let s${p} = ${scale}(row, ${scaleAt(p)});`, ...(zero === undefined ? [] : [`let z${p} = f32(${zero}(row, ${scaleAt(p)}));`]), ...(least === undefined ? [] : [`let l${p} = ${least}(row, ${scaleAt(p)});`])]
      const ofRow = (i: number): string => {
        const dot = each(words, (e) => `dot4I8Packed(${word("w", p * words + e)}, ${word(`q${i}`, p * words + e)})`).join(" + ")
        const centered = zero === undefined ? `f32(${dot})` : `(f32(${dot}) - z${p} * total${i}_${p})`
        const value = least === undefined ? `s${p} * ${centered}` : `(s${p} * ${centered} + l${p} * total${i}_${p})`
        return `${sum(which, i, r)} += step${i} * (${value});`
      }
      return [...scales, ...each(m, ofRow)].join("\n")
    }).join("\n")}
}`
  }
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
let first = unit * ${perUnit} + thread / ${group} * ${rows};
${sums.map((v) => `var ${v} = 0f;`).join("\n")}
for (var b = thread % ${group}; b < ${blocks}; b += ${group}) {
${activations}
${each(rows, (r) => each(products, (p) => product(p, r)).join("\n")).join("\n")}
}
${joined.text}
if (thread % ${group} == 0) {
${finished}
}`,
  }
}
