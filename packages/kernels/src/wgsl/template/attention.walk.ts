// Attention on matrices of subgroups: a tile of rows walks along the keys with a running softmax, as in `attention.many`. What
// is summed stays in matrices, and WGSL cannot scale their rows; so a row's exponentials are relative to a score that was its
// largest, until another exceeds it by `threshold` (FlashAttention-4 puts corrections off like that). Only then sums go through
// workgroup memory: if all tiles did so, it would move two thirds more, and a walk before, for the largest scores, would
// multiply half as much again.
import { each } from "./each.ts"
import { rowsOf, type AttentionSizes } from "./attention.few.ts"
import type { AttentionPlanes, Halves } from "./attention.planes.ts"
import { headOf, lowest, masking, reach } from "./attention.rows.ts"
import { joinAcross, largest, sums } from "./join.ts"
import { lanes, type Matrices } from "./matrices.ts"
import { splitting } from "./split.matrices.ts"
import type { Features, PassHoles, PassText } from "./holes.ts"

export interface Plan {
  readonly rows: number
  readonly keys: number
  readonly threads: number
  readonly kind: Matrices
  /** Subgroups along rows; and across them, along keys and then along features of values. */
  readonly down: number
  readonly across: number
  /** Vectors of eight in a line of keys and of values, as many as make whole matrices; and from one line to the next. */
  readonly keyVectors: number
  readonly valueVectors: number
  readonly keyStride: number
  readonly valueStride: number
  readonly scoreStride: number
  /** Vectors of the memory that holds keys and then values, and of that for scores and then exponentials. */
  readonly staged: number
  readonly scores: number
  /** Workgroup memory. */
  readonly bytes: number
  readonly units: number
}

/** The exponential of a score that is the one others are relative to: a half holds up to 2¹⁶, and differences of 2⁻²⁴. */
const unity = 2 ** 10
/** How far a score may exceed that one: unity · e^threshold < 2¹⁵. */
const threshold = 3.4
/** What happened in a tile: rows are to be scaled, for which sums go through workgroup memory; or, in any tile so far: numbers are not finite. */
const raised = 1, strange = 2

interface Walk { readonly sizes: AttentionSizes; readonly features: Features; readonly planes: AttentionPlanes; readonly plan: Plan; has(operand: string): boolean }

const four = (of: (i: number) => string): string => `vec4<f32>(${each(4, of).join(", ")})`

export function walk(pass: PassHoles, { sizes, features, planes, plan, has }: Walk): PassText {
  for (const extension of ["f16", "subgroups", "chromium_experimental_subgroup_matrix"] as const) pass.enable(extension)
  const { kvHeads, tq, tk, dv, scale, causal } = sizes, all = rowsOf(sizes), tilesOfRows = Math.ceil(all / plan.rows)
  const { rows, keys, threads, kind, down, across, keyVectors, keyStride, valueVectors, valueStride, scoreStride } = plan
  const q = planes.read(pass, "q"), k = planes.read(pass, "k"), v = planes.read(pass, "v"), perRow = threads / rows
  const finish = pass.finish(4), exp = pass.math(has("mask") ? "exp" : "expOfNumber"), nothing = `${pass.math("special")}(0xff800000u)`, { visible, masked } = masking(pass, sizes, has)
  const most = joinAcross(pass, features, { variables: ["upmost"], group: perRow, threads, how: largest, name: "mostOf" })
  const total = joinAcross(pass, features, { variables: ["total"], group: perRow, threads, how: sums, name: "totalOf" })
  const quads = Math.ceil(dv / 4), high = rows / down, wideKeys = keys / across, wideValues = (valueVectors * lanes) / across
  const outputs = matrices("o", kind, high, wideValues), scored = matrices("c", kind, high, wideKeys)
  const keyStage = stage({ halves: k, lines: keys, vectors: keyVectors, stride: keyStride, threads, check: false })
  const valueStage = stage({ halves: v, lines: keys, vectors: valueVectors, stride: valueStride, threads, check: true })
  const held = each(Math.max(keyStage.count, valueStage.count), (e) => each(Math.max(k.planes, v.planes), (p) => `var held${e}_${p} = vec4<u32>();`)).flat()
  // A thread takes eight neighbouring scores of a row at a time, as two vectors.
  const parts = each(keys / lanes / perRow, (i) => [0, 1].map((half) => ({ s: `s${i}_${half}`, group: `(thread % ${perRow} + ${i * perRow})`, half }))).flat()
  const queryStep = q.step(headOf(sizes, "known"), `known % ${tq}`), steps = (of: (e: number) => string | undefined): string => (of(0) === undefined ? "" : ` * ${four((e) => of(e)!)}`)
  return {
    declarations: `${each(q.planes, (p) => `var<workgroup> queries${p}: array<vec4<u32>, ${rows * keyStride}>;`).join("\n")}
${each(Math.max(k.planes, v.planes), (p) => `var<workgroup> staged${p}: array<vec4<u32>, ${plan.staged}>;`).join("\n")}
var<workgroup> scores: array<vec4<u32>, ${plan.scores}>;
var<workgroup> factors: array<f32, ${rows}>;
var<workgroup> events: atomic<u32>;
${most.declarations}
${total.declarations}
${splitting}
${exactly(pass, sizes, has)}`,
    body: `
let batch = unit / ${kvHeads * tilesOfRows};
let kvHead = unit / ${tilesOfRows} % ${kvHeads};
let row0 = ${causal ? `(${tilesOfRows - 1} - unit % ${tilesOfRows})` : `unit % ${tilesOfRows}`} * ${rows};
let r = row0 + thread / ${perRow};
let query = r % ${tq};
let own = thread / ${kind.subgroup};
let high0 = own / ${across} * ${high};
let key0 = own % ${across} * ${wideKeys};
let value0 = own % ${across} * ${wideValues};
let mine = thread / ${perRow} * ${scoreStride};
${reach(pass, sizes, has, rows)}
let known = min(r, ${all - 1});
let rate = ${Math.fround(scale)}f${queryStep === undefined ? "" : ` * ${queryStep}`};
for (var i = thread; i < ${rows * keyVectors}; i += ${threads}) {
let r = row0 + i / ${keyVectors};
let at = i % ${keyVectors};
let there = r < ${all}${q.vectors < keyVectors ? ` && at < ${q.vectors}` : ""};
${each(q.planes, (p) => `{ var vector = vec4<u32>(); if (there) { vector = ${q.vector(p, headOf(sizes, "r"), `r % ${tq}`, "at")}; } queries${p}[i / ${keyVectors} * ${keyStride} + at] = vector; }`).join("\n")}
}
${outputs.declare}
var most = ${lowest};
var total = 0f;
var sumOfScores = 0f;
${held.join(" ")}
var base = lower / ${keys} * ${keys};
if (base < upper) {
${keyStage.load("base")}
}
for (; base < upper; base += ${keys}) {
if (thread == 0) { atomicAnd(&events, ${strange}u); }
${keyStage.store}
workgroupBarrier();
${valueStage.load("base")}
{
${scored.declare}
${scored.multiply({
    terms: keyVectors * lanes, left: (i, at) => `(high0 + ${i}) * ${keyStride} + ${at} / ${lanes}`, lefts: each(q.planes, (p) => ({ memory: `queries${p}`, offset: 0 })), leftStride: keyStride,
    right: (j, at) => `(key0 + ${j}) * ${keyStride} + ${at} / ${lanes}`, rights: k.planes, rightStride: keyStride, order: "col",
  })}
${scored.all.map(({ name, i, j }) => `subgroupMatrixStore<row_major>(&scores, u32((high0 + ${i}) * ${scoreStride} + (key0 + ${j}) / 4), ${name}, ${scoreStride}u);`).join("\n")}
}
workgroupBarrier();
${valueStage.store}
var upmost = ${lowest};
${parts.map(({ s, group, half }) => `var ${s}: vec4<f32>;
{
let key = base + ${group} * ${lanes} + ${half * 4};
let keys = vec4<i32>(key) + vec4<i32>(0, 1, 2, 3);
var score = bitcast<vec4<f32>>(scores[mine + ${group} * 2 + ${half}]) * rate${steps((e) => k.step("kvHead", `min(key + ${e}, ${tk - 1})`))};
let seen = ${visible};
sumOfScores += score.x + score.y + score.z + score.w;
${masked}
${s} = select(vec4<f32>(${nothing}), score, seen);
upmost = max(upmost, max(max(${s}.x, ${s}.y), max(${s}.z, ${s}.w)));
}`).join("\n")}
${most.text}
let raise = upmost > most + ${threshold}f;
let factor = select(1f, ${exp}(most - upmost), raise);
if (raise && most > ${lowest}) { atomicOr(&events, ${raised}u); }
most = select(most, upmost, raise);
total *= factor;
if (thread % ${perRow} == 0) { factors[thread / ${perRow}] = factor; }
${parts.map(({ s }) => `${s} -= most;\n${s} = ${unity}f * ${four((e) => `${exp}(${s}[${e}])`)};\ntotal += ${s}.x + ${s}.y + ${s}.z + ${s}.w;`).join("\n")}
// Its barriers also part reading scores from writing exponentials where they were.
let happened = workgroupUniformLoad(&events);
if ((happened & ${raised}u) != 0u) {
${outputs.through("scores", "scores[at] = bitcast<vec4<u32>>(sum * factors[row]);", true)}
}
${parts.filter(({ half }) => half === 0).map(({ s, group }) => {
    const other = s.replace(/0$/, "1")
    return `{
let halves = array<vec2<u32>, 4>(twoHalves(${s}.xy), twoHalves(${s}.zw), twoHalves(${other}.xy), twoHalves(${other}.zw));
${["x", "y"].map((c, p) => `scores[mine + ${group} + ${(p * keys) / lanes}] = vec4<u32>(${each(4, (i) => `halves[${i}].${c}`).join(", ")});`).join("\n")}
}`
  }).join("\n")}
workgroupBarrier();
if (base + ${keys} < upper) {
${keyStage.load(`base + ${keys}`)}
}
${outputs.multiply({
    terms: keys, left: (i, at) => `(high0 + ${i}) * ${scoreStride} + ${at} / ${lanes}`, lefts: [0, keys / lanes].map((offset) => ({ memory: "scores", offset })), leftStride: scoreStride,
    right: (j, at) => `${at} * ${valueStride} + (value0 + ${j}) / ${lanes}`, rights: v.planes, rightStride: valueStride, order: "row",
  })}
workgroupBarrier();
}
${total.text}
if (thread % ${perRow} == 0) { factors[thread / ${perRow}] = total; }
if (!isFinite(sumOfScores + total)) { atomicOr(&events, ${strange}u); }
if ((workgroupUniformLoad(&events) & ${strange}u) != 0u) {
for (var i = thread; i < ${rows * quads}; i += ${threads}) {
let r = row0 + i / ${quads};
if (r < ${all}) { ${finish}(batch, ${headOf(sizes, "r")}, r % ${tq}, i % ${quads}, exactly(batch, kvHead, r, i % ${quads}, lower, upper, filled, offset)); }
}
} else {
${outputs.through("staged0", `let r = row0 + row;
if (r < ${all} && group < ${quads}) { ${finish}(batch, ${headOf(sizes, "r")}, r % ${tq}, group, sum${steps((e) => v.step("kvHead", `group * 4 + ${e}`))} / factors[row]); }`, false)}
}`,
  }
}

interface Terms {
  readonly terms: number
  /** Vectors at which matrices begin: from row or column i, and term `at`, on. */
  left(i: number, at: string): string
  right(j: number, at: string): string
  readonly lefts: readonly { readonly memory: string; readonly offset: number }[]
  readonly leftStride: number
  readonly rights: number
  readonly rightStride: number
  /** How the right operand lies in `staged`: by terms, or by columns. */
  readonly order: "row" | "col"
}

/** The matrices in which a subgroup sums `high` × `wide` results. */
function matrices(prefix: string, { m, n, k, subgroup, written }: Matrices, high: number, wide: number): { all: { name: string; i: number; j: number }[]; declare: string; multiply(terms: Terms): string; through(memory: string, edit: string, back: boolean): string } {
  const all = each(high / m, (i) => each(wide / n, (j) => ({ name: `${prefix}${i}_${j}`, i: i * m, j: j * n }))).flat()
  const type = `subgroup_matrix_result<f32, ${n}, ${m}>`, cells = (m * n) / 4, perLine = n / 4
  const step = ({ left, right, lefts, leftStride, rights, rightStride, order }: Terms, at: string): string => [
    ...each(high / m, (i) => lefts.map(({ memory, offset }, p) => `let a${p}_${i} = subgroupMatrixLoad<subgroup_matrix_left<f16, ${k}, ${m}>, row_major>(&${memory}, u32(${left(i * m, at)} + ${offset}), ${leftStride}u);`)).flat(),
    ...each(wide / n, (j) => [
      "{",
      ...each(rights, (p) => `let b${p} = subgroupMatrixLoad<subgroup_matrix_right<f16, ${n}, ${k}>, ${order}_major>(&staged${p}, u32(${right(j * n, at)}), ${rightStride}u);`),
      // Not two second halves: their product is 2⁻²² of the whole.
      ...lefts.flatMap((_, l) => each(rights, (p) => (l + p > 1 ? [] : each(high / m, (i) => `${prefix}${i}_${j} = subgroupMatrixMultiplyAccumulate(a${l}_${i}, b${p}, ${prefix}${i}_${j});`))).flat()),
      "}",
    ]).flat(),
  ].join("\n")
  return {
    all, declare: all.map(({ name }) => `var ${name} = ${type}();`).join("\n"),
    multiply: (terms) => terms.terms / k <= written ? each(terms.terms / k, (s) => `{\n${step(terms, String(s * k))}\n}`).join("\n") : `for (var t = 0; t < ${terms.terms}; t += ${k}) {\n${step(terms, "t")}\n}`,
    // One matrix of each subgroup at a time, to where threads see its rows: `sum` is four of `row`, `group` counting fours.
    through: (memory, edit, back) => all.map(({ name, i, j }) => `
subgroupMatrixStore<row_major>(&${memory}, u32(own * ${cells}), ${name}, ${perLine}u);
workgroupBarrier();
for (var e = thread % ${subgroup}; e < ${cells}; e += ${subgroup}) {
let row = high0 + ${i} + e / ${perLine};
let group = (value0 + ${j}) / 4 + e % ${perLine};
let at = own * ${cells} + e;
let sum = bitcast<vec4<f32>>(${memory}[at]);
${edit}
}
workgroupBarrier();${back ? `\n${name} = subgroupMatrixLoad<${type}, row_major>(&${memory}, u32(own * ${cells}), ${perLine}u);\nworkgroupBarrier();` : ""}`).join("\n"),
  }
}

/** How a tile of keys or values comes to `staged`: `count` vectors of each thread, held in `held` meanwhile. */
function stage({ halves, lines, vectors, stride, threads, check }: { readonly halves: Halves; readonly lines: number; readonly vectors: number; readonly stride: number; readonly threads: number; readonly check: boolean }): { count: number; load(first: string): string; store: string } {
  const count = Math.ceil((lines * vectors) / threads)
  const line = (e: number): string => `(thread + ${e * threads}) / ${vectors}`, at = (e: number): string => `(thread + ${e * threads}) % ${vectors}`
  return {
    count,
    load: (first) => each(count, (e) => `{
let key = ${first} + ${line(e)};
let at = ${at(e)};
if (key < upper${halves.vectors < vectors ? ` && at < ${halves.vectors}` : ""}) { ${each(halves.planes, (p) => `held${e}_${p} = ${halves.vector(p, "kvHead", "key", "at")};`).join(" ")} } else { ${each(halves.planes, (p) => `held${e}_${p} = vec4<u32>();`).join(" ")} }
}`).join("\n"),
    store: each(count, (e) => `${check ? `if (!areFinite(held${e}_0)) { atomicOr(&events, ${strange}u); }\n` : ""}${(e + 1) * threads <= lines * vectors ? "" : `if (${line(e)} < ${lines}) `}{ ${each(halves.planes, (p) => `staged${p}[${line(e)} * ${stride} + ${at(e)}] = held${e}_${p};`).join(" ")} }`).join("\n"),
  }
}

/**
 * Four results of a row as the definition says, in f32: what all rows of a tile take that has numbers that are not finite. The second
 * half of an infinity is NaN, and a NaN among values is one in the column that it stands in, not in others of its matrix.
 */
function exactly(pass: PassHoles, sizes: AttentionSizes, has: (operand: string) => boolean): string {
  const q = pass.read("q", 4, 3), k = pass.read("k", 4, 3), v = pass.read("v", 4, 3), exp = pass.math("exp"), { visible, masked } = masking(pass, sizes, has)
  // No compiler is to know how long a row is: it would write the loop out.
  return `
fn isFinite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
fn areFinite(halves: vec4<u32>) -> bool { return all((((halves & vec4<u32>(0x7c007c00u)) + vec4<u32>(0x04000400u)) & vec4<u32>(0x80008000u)) == vec4<u32>()); }
fn exactly(batch: i32, kvHead: i32, r: i32, group: i32, lower: i32, upper: i32, filled: i32, offset: i32) -> vec4<f32> {
let query = r % ${sizes.tq};
let end = ${Math.ceil(sizes.d / 4)} + i32(${pass.math("zero")}());
var most = ${lowest};
var total = 0f;
var sum = vec4<f32>();
for (var key = lower; key < upper; key++) {
var product = 0f;
for (var f = 0; f < end; f++) { product += dot(${q}(batch, ${headOf(sizes, "r")}, query, f), ${k}(batch, kvHead, key, f)); }
let keys = vec4<i32>(key) + vec4<i32>(0, 1, 2, 3);
var score = vec4<f32>(product * ${Math.fround(sizes.scale)}f);
let seen = ${visible};
${masked}
let s = select(${pass.math("special")}(0xff800000u), score.x, seen.x);
let upmost = max(most, s);
let factor = ${exp}(most - upmost);
let weight = ${exp}(s - upmost);
total = total * factor + weight;
sum = sum * factor + weight * ${v}(batch, kvHead, key, group);
most = upmost;
}
return sum / total;
}`
}
