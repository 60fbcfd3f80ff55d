// Activations rounded to int8 in blocks of 32, as core's definition of quantizedMatmul says: by every workgroup that reads them,
// or by a pass before. Whoever rounds them may normalize their rows first.
import { each } from "./each.ts"
import { fixedSubgroup, joinAcross, largest, mostOf } from "./join.ts"
import { divider, folding, type Normalization, type RowRead } from "./rows.ts"
import type { Features, Pass, PassHoles, PassText } from "./holes.ts"

/** Neighbours that share an activation scale. */
export const block = 32
/** Threads that round a block together, four neighbours each. */
const perBlock = 8
/** Threads of a workgroup of the pass. */
const passThreads = 128

/** What is rounded: `m` rows of `k`. */
export interface Rounding {
  readonly sizes: { readonly m: number; readonly k: number; /** Of rows that are normalized. */ readonly eps: number }
  readonly features: Features
  /** Threads of a workgroup that rounds what it reads. */
  readonly threads: number
  /** What is done to rows of activations before they are rounded. */
  readonly norm: Normalization | undefined
  readonly blocks: number
  /** A piece is what shares a scale on both sides: a block, or half of one. */
  readonly pieces: 1 | 2
  /** Whether sums of activations are asked for, by zeros or minima. */
  readonly sums: boolean
  has(operand: string): boolean
}

/** Where rounded activations are: arrays of words [m, 2, blocks], so that neighbours in memory are of neighbouring blocks, of steps [m, blocks], of sums [m, blocks, pieces]. */
export interface Rounded { readonly codes: string; readonly steps: string; readonly totals: string; readonly declarations: string; readonly before: string }

/** Workgroup memory that they take. */
export const roundedBytes = ({ sizes: { m, k }, blocks, pieces, sums, threads, norm }: Rounding): number =>
  m * k + m * blocks * 4 * (1 + (sums ? pieces : 0)) + (norm === undefined ? 0 : norm.known.length * (4 * m + 4 * threads))

/** amax/127, and NaN where amax is not finite. */
const stepOf = (pass: PassHoles, divide: (a: string, b: string) => string): string => `select(${divide("amax", "127f")}, ${pass.math("special")}(0x7fc00000u), most >= 0x7f800000u)`
/** 127/amax, and 0 where amax is 0. */
const rateOf = (divide: (a: string, b: string) => string): string => `select(${divide("127f", "select(amax, 1f, amax == 0f)")}, 0f, amax == 0f)`

/** Statements by which eight neighbouring threads, `x` being each's four of a block, find its `rate`; and its step, an expression. They call {@link mostOf}. */
export function ofBlock(pass: PassHoles, features: Features, threads: number): { readonly declarations: string; readonly text: string; readonly step: string } {
  const divide = divider(pass, features), joined = joinAcross(pass, features, { variables: ["most"], group: perBlock, threads, how: largest, name: "mostOfBlock", type: "u32" })
  return { declarations: joined.declarations, text: `var most = mostOf(x);\n${joined.text}\nlet amax = bitcast<f32>(most);\nlet rate = ${rateOf(divide)};`, step: stepOf(pass, divide) }
}

/** Activations as they are rounded. */
interface Activations {
  readonly declarations: string
  /** Statements that all threads of a workgroup run before the others. */
  readonly before: string
  /** Four neighbours of `row`, from 4 · `at` on: the `i`th vector that a thread has. */
  read(at: string, i: number): string
}
/** How the threads of a workgroup come to what they round, and to what all rows share. */
interface Source {
  /** Statements before all others. */
  readonly start: string
  /** `of` each vector of `row` that a thread has. */
  each(of: (v: string, at: string) => string): string
  /** Vector `at` of `row`, or of an operand that all rows share; the `i`th of those that a thread has. */
  vector(at: string, i: number): string
  shared(operand: string, at: string, i: number): string
}
/** Every thread reads what it needs, when it does. */
function reading(pass: PassHoles, { sizes: { k } }: Rounding, threads: number): Source {
  const x = pass.read("x", 4, 1)
  return {
    start: "", each: (of) => `for (var g = thread; g < ${k / 4}; g += ${threads}) {\nlet v = ${x}(row, g);\n${of("v", "g")}\n}`,
    vector: (at) => `${x}(row, ${at})`, shared: (operand, at) => `${pass.read(operand, 4, 0)}(${at})`,
  }
}
/** A thread holds `count` vectors of one row: all is asked for at once, and read once. */
function holding(pass: PassHoles, { sizes: { k }, norm, has }: Rounding, threads: number, count: number): Source {
  const at = (i: number): string => `thread + ${i * threads}`, hold = (name: string, read: (at: string) => string): string[] => each(count, (i) => `let ${name}_${i} = ${read(`min(${at(i)}, ${k / 4 - 1})`)};`)
  const shared = norm === undefined ? [] : ["weight", "bias"].filter(has)
  return {
    start: [...hold("x", (at) => `${pass.read("x", 4, 1)}(0, ${at})`), ...shared.flatMap((operand) => hold(operand, (at) => `${pass.read(operand, 4, 0)}(${at})`))].join("\n"),
    each: (of) => each(count, (i) => `${(i + 1) * threads <= k / 4 ? "" : `if (${at(i)} < ${k / 4}) `}{\n${of(`x_${i}`, `(${at(i)})`)}\n}`).join("\n"),
    vector: (_at, i) => `x_${i}`, shared: (operand, _at, i) => `${operand}_${i}`,
  }
}

/** `rows`: the first row that the workgroup rounds, and the last one. */
function activationsOf(pass: PassHoles, { sizes: { m, k, eps }, features, norm, has }: Rounding, { threads, rows, source }: { readonly threads: number; readonly rows: readonly [first: string, last: string]; readonly source: Source }): Activations {
  if (norm === undefined) return { declarations: "", before: source.start, read: source.vector }
  const declarations = norm.known.map((name) => `var<workgroup> ${name}OfRow: array<f32, ${m}>;`)
  const rowRead = (i: number): RowRead => ({
    pass, columns: k, eps, within: (v) => v, divide: divider(pass, features), shared: (operand, at) => source.shared(operand, at, i),
    fold: folding(pass, features, { each: source.each, group: threads, threads, declare: (text) => void declarations.push(text) }),
  })
  const before = `${source.start}
for (var row = ${rows[0]}; row <= ${rows[1]}; row++) {
${norm.find(rowRead(0))}
if (thread == 0) { ${norm.known.map((name) => `${name}OfRow[row] = ${name};`).join(" ")} }
workgroupBarrier();
}`
  return { declarations: declarations.join("\n"), before, read: (at, i) => norm.value(rowRead(i), has, source.vector(at, i), at, (name) => `${name}OfRow[row]`) }
}

/** Vectors that a thread holds at most. */
const mostHeld = 4

export function inWorkgroup(pass: PassHoles, plan: Rounding): Rounded {
  const { sizes: { m, k }, features, threads, blocks, pieces, sums } = plan
  const swaps = (fixedSubgroup(features, threads) ?? 1) >= perBlock, count = Math.ceil((m * k) / 4 / threads), holds = swaps && m === 1 && count <= mostHeld
  const activations = activationsOf(pass, plan, { threads, rows: ["0", `${m - 1}`], source: holds ? holding(pass, plan, threads, count) : reading(pass, plan, threads) })
  const declarations = [activations.declarations, `var<workgroup> codes: array<vec4<u32>, ${2 * m * blocks}>;`, `var<workgroup> steps: array<f32, ${m * blocks}>;`, ...(sums ? [`var<workgroup> totals: array<f32, ${m * blocks * pieces}>;`] : [])]
  const rounded = { codes: "codes", steps: "steps", totals: "totals" }
  if (swaps) {
    // Threads swap words, so that four are written at once.
    const store = `let others = vec3<u32>(${[1, 2, 3].map((i) => `subgroupShuffleDown(word, ${i}u)`).join(", ")});
if (at < ${m * blocks * perBlock} && e % 4 == 0) { codes[(row * 2 + e / 4) * ${blocks} + b] = vec4<u32>(word, others); }`
    const text = (i: number): string => sharedRounding(pass, plan, { ...rounded, activations, i, store, threads }).text
    const all = holds ? each(count, (i) => `{\nlet at = thread + ${i * threads};\n${text(i)}\n}`).join("\n") : `for (var begun = 0; begun < ${m * blocks * perBlock}; begun += ${threads}) {\nlet at = begun + thread;\n${text(0)}\n}`
    return { ...rounded, declarations: [rounding, ...declarations].join("\n"), before: `\n${activations.before}\n${all}\nworkgroupBarrier();` }
  }
  const divide = divider(pass, features), words = 8 / pieces
  return {
    ...rounded, declarations: [rounding, ...declarations].join("\n"),
    before: `
${activations.before}
for (var item = thread; item < ${m * blocks}; item += ${threads}) {
let row = item / ${blocks};
let b = item % ${blocks};
${each(8, (e) => `let x${e} = ${activations.read(`b * 8 + ${e}`, 0)};`).join("\n")}
let most = max(${each(2, (h) => `max(max(mostOf(x${4 * h}), mostOf(x${4 * h + 1})), max(mostOf(x${4 * h + 2}), mostOf(x${4 * h + 3})))`).join(", ")});
let amax = bitcast<f32>(most);
steps[item] = ${stepOf(pass, divide)};
let rate = ${rateOf(divide)};
${each(8, (e) => `let r${e} = vec4<i32>(round(x${e} * rate));`).join("\n")}
${each(2, (h) => `codes[row * ${2 * blocks} + ${h * blocks} + b] = vec4<u32>(${each(4, (e) => `pack4xI8(r${4 * h + e})`).join(", ")});`).join("\n")}
${sums ? each(pieces, (p) => `{ let s = ${each(words, (e) => `r${p * words + e}`).join(" + ")}; totals[item * ${pieces} + ${p}] = f32(s.x + s.y + s.z + s.w); }`).join("\n") : ""}
}
workgroupBarrier();`,
  }
}

interface Places { readonly activations: Activations; readonly steps: string; readonly totals: string; /** Stores `word`, the four codes of thread `e`. */ readonly store: string; readonly threads: number; /** Which of its vectors a thread rounds. */ readonly i: number }

/** Codes, made by an addition that leaves no bits for fractions: conversions take a card four times as long. */
const rounding = `${mostOf}
fn codesOf(x: vec4<f32>) -> vec4<i32> { return bitcast<vec4<i32>>(x + vec4<f32>(12582912f)) - vec4<i32>(0x4b400000); }
fn inBytes(codes: vec4<i32>) -> u32 { let c = bitcast<vec4<u32>>(codes) & vec4<u32>(0xffu); return c.x | (c.y << 8u) | (c.z << 16u) | (c.w << 24u); }`

/** Eight neighbouring threads round a block, `at` being the number of a thread among all of them. */
function sharedRounding(pass: PassHoles, { sizes: { m }, features, blocks, pieces, sums }: Rounding, { activations, steps, totals, store, threads, i }: Places): { declarations: string; text: string } {
  const count = m * blocks, own = perBlock / pieces, scale = ofBlock(pass, features, threads)
  const total = sums ? joinAcross(pass, features, { variables: ["total"], group: own, threads, name: "sums" }) : undefined
  const { contracts } = features.numbers, products = contracts ? `vec4<f32>(${["x", "y", "z", "w"].map((c) => `${pass.math("rounded")}(x.${c} * rate)`).join(", ")})` : "x * rate"
  return {
    declarations: [rounding, scale.declarations, total?.declarations ?? ""].join("\n"),
    text: `let item = min(at / ${perBlock}, ${count - 1});
let row = item / ${blocks};
let b = item % ${blocks};
let e = at % ${perBlock};
let x = ${activations.read(`b * ${perBlock} + e`, i)};
${scale.text}
let r = codesOf(${products});
${total === undefined ? "" : `var total = f32(r.x + r.y + r.z + r.w);\n${total.text}`}
let word = inBytes(r);
${store}
if (at < ${count * perBlock}) {
if (e == 0) { ${steps}[item] = ${scale.step}; }
${total === undefined ? "" : `if (e % ${own} == 0) { ${totals}[item * ${pieces} + e / ${own}] = total; }`}
}`,
  }
}

export const inScratch = (pass: PassHoles, { sizes: { m }, blocks, pieces, sums }: Rounding): Rounded =>
  ({ codes: pass.scratch("codes", "vec4<u32>", 2 * m * blocks), steps: pass.scratch("steps", "f32", m * blocks), totals: sums ? pass.scratch("totals", "f32", m * blocks * pieces) : "", declarations: "", before: "" })

/** The pass before. */
export const roundingPass = (plan: Rounding): Pass => ({ units: Math.ceil((plan.sizes.m * plan.blocks * perBlock) / passThreads), threads: [passThreads], write: (pass) => writeRounding(pass, plan) })
function writeRounding(pass: PassHoles, plan: Rounding): PassText {
  const { sizes: { m }, blocks, pieces, sums } = plan
  const codes = pass.scratch("codes", "u32", 8 * m * blocks), steps = pass.scratch("steps", "f32", m * blocks), totals = sums ? pass.scratch("totals", "f32", m * blocks * pieces) : ""
  const store = `if (at < ${m * blocks * perBlock}) { ${codes}[((row * 2 + e / 4) * ${blocks} + b) * 4 + e % 4] = word; }`
  const own = passThreads / perBlock, rowOf = (item: string): string => `min((${item}) / ${blocks}, ${m - 1})`
  const activations = activationsOf(pass, plan, { threads: passThreads, rows: [rowOf(`unit * ${own}`), rowOf(`unit * ${own} + ${own - 1}`)], source: reading(pass, plan, passThreads) })
  const { declarations, text } = sharedRounding(pass, plan, { activations, steps, totals, store, threads: passThreads, i: 0 })
  return { declarations: `${activations.declarations}\n${declarations}`, body: `${activations.before}\nlet at = unit * ${passThreads} + thread;\n${text}` }
}

