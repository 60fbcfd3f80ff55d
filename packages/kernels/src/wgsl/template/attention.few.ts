// Attention of few queries: reading the keys and values takes the time. Each workgroup takes a span of the keys of one key
// head and all queries that share it; a second pass joins the spans (Dao et al., "Flash-Decoding", 2023).
import { fixedSubgroup, joinAcross, largest, sums } from "./join.ts"
import type { Features, Holes, PassHoles, PassText, Template } from "./holes.ts"

export interface AttentionSizes {
  readonly batch: number; readonly heads: number; readonly kvHeads: number; readonly tq: number; readonly tk: number; readonly d: number; readonly dv: number
  readonly causal: number; readonly window: number; readonly scale: number; readonly qOffset: number
}

/** Queries that share keys up to which this form is taken. */
export const fewRows = 8
const threads = 128
/** Workgroups from which a large adapter is busy. */
const manyUnits = 256

interface Plan extends AttentionSizes {
  /** Rows of a unit: head within the group · tq + query. */
  readonly rows: number
  readonly span: number
  readonly parts: number
  /** Vectors of four features of a key, and of a value. */
  readonly keyVectors: number
  readonly valueVectors: number
  has(operand: string): boolean
}

export const rowsOf = ({ heads, kvHeads, tq }: AttentionSizes): number => (heads / kvHeads) * tq

export const attentionFew: Template = {
  accepts: (dims, { threads: most, sharedBytes }) => {
    const sizes = dims as unknown as AttentionSizes, { d, dv, tk, tq } = sizes
    return most >= threads && [d, dv, tk, tq, sizes.batch, sizes.heads].every((n) => n > 0) && rowsOf(sizes) <= fewRows && dv <= 4 * threads && sharedBytes >= 16384 && d <= 1024 / rowsOf(sizes)
  },
  passes({ dims, operands, features }: Holes) {
    const sizes = dims as unknown as AttentionSizes, { batch, kvHeads, tk } = sizes
    const rows = rowsOf(sizes), span = batch * kvHeads * Math.ceil(tk / 256) < manyUnits ? 128 : 256, parts = Math.ceil(tk / span)
    const plan: Plan = { ...sizes, rows, span, parts, keyVectors: Math.ceil(sizes.d / 4), valueVectors: Math.ceil(sizes.dv / 4), has: (name) => operands[name] !== undefined }
    const items = batch * kvHeads * rows * plan.valueVectors
    return [
      { units: batch * kvHeads * parts, threads: [threads] as const, write: (pass) => spans(pass, features, plan) },
      ...(parts === 1 ? [] : [{ units: Math.ceil(items / threads), threads: [threads] as const, write: (pass: PassHoles) => joins(pass, plan, items) }]),
    ]
  },
}

/** Below every finite number: where a maximum begins. */
const lowest = "-3.4028234663852886e38f"
/** Vectors of a key in the order in which the threads that share it take them, and the words of scratch. */
const scratchOf = (pass: PassHoles, { batch, kvHeads, parts, rows, valueVectors }: Plan): { outputs: string; totals: string } => ({
  outputs: pass.scratch("outputs", "vec4<f32>", batch * kvHeads * parts * rows * valueVectors),
  totals: pass.scratch("totals", "f32", batch * kvHeads * parts * rows * 2),
})
/** head and query of a row. */
const place = ({ heads, kvHeads, tq }: Plan, r: number): { head: string; query: number } => ({ head: `kvHead * ${heads / kvHeads} + ${Math.floor(r / tq)}`, query: r % tq })

/** Declares `offset`, the position of the first query, and `count`, the number of keys that count. */
export function bounds(pass: PassHoles, { tk, qOffset, has }: { readonly tk: number; readonly qOffset: number; has(operand: string): boolean }): string {
  return `let offset = ${has("qOffset") ? `${pass.read("qOffset")}()` : qOffset};
let filled = ${has("length") ? `clamp(${pass.read("length")}(), 0, ${tk})` : tk};`
}

function spans(pass: PassHoles, features: Features, plan: Plan): PassText {
  const { rows, span, parts, keyVectors, valueVectors, kvHeads, tq, causal, window, scale, has } = plan
  const q = pass.read("q", 4, 3), k = pass.read("k", 4, 3), v = pass.read("v", 4, 3), exp = pass.math("exp"), nothing = `${pass.math("special")}(0xff800000u)`
  const each = <T>(count: number, of: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => of(i))
  // Neighbouring threads share a key, so that they read memory side by side; each asks for several keys before it needs one.
  const across = Math.min(8, fixedSubgroup(features, threads) ?? 1), keys = threads / across, sweeps = Math.max(1, Math.min(4, Math.floor(8 / rows), span / keys))
  if (across > 1) pass.enable("subgroups")
  const pairs = each(rows, (r) => each(sweeps, (i) => ({ r, i }))).flat()
  const shuffles = each(Math.log2(across), (s) => pairs.map(({ r, i }) => `s${r}_${i} += subgroupShuffleXor(s${r}_${i}, ${1 << s}u);`).join(" ")).join("\n")
  const score = (i: number): string => each(rows, (r) => {
    const { head, query } = place(plan, r), key = `start + j${i}`
    const seen = [...(causal ? [`${key} <= ${query} + offset`] : []), ...(window > 0 ? [`${key} > ${query} + offset - ${window}`] : [])]
    const value = `s${r}_${i} * ${number(scale)}${has("mask") ? ` + ${pass.read("mask")}(batch, ${head}, ${query}, ${key})` : ""}`
    return `scores[${r * span} + j${i}] = ${seen.length === 0 ? value : `select(${nothing}, ${value}, ${seen.join(" && ")})`};`
  }).join("\n")
  const most = joinAcross(pass, features, { variables: each(rows, (r) => `most${r}`), group: threads, threads, how: largest, name: "mostOf" })
  const total = joinAcross(pass, features, { variables: each(rows, (r) => `total${r}`), group: threads, threads, how: sums, name: "totalOf" })
  const slices = Math.max(1, Math.floor(threads / valueVectors))
  // Whole slices, so that halving works.
  const deep = 2 ** Math.floor(Math.log2(slices)), ahead = Math.max(1, Math.min(8, span / deep)), { outputs, totals } = parts > 1 ? scratchOf(pass, plan) : { outputs: "", totals: "" }
  const finish = parts === 1 ? pass.finish(4) : ""
  const store = (r: number): string => {
    const { head, query } = place(plan, r)
    if (parts === 1) return `${finish}(batch, ${head}, ${query}, column, sum / total${r});`
    return `${outputs}[(unit * ${rows} + ${r}) * ${valueVectors} + column] = sum;\nif (column == 0) { ${totals}[(unit * ${rows} + ${r}) * 2] = most${r}; ${totals}[(unit * ${rows} + ${r}) * 2 + 1] = total${r}; }`
  }
  return {
    declarations: [`var<workgroup> scores: array<f32, ${rows * span}>;`, `var<workgroup> queries: array<vec4<f32>, ${rows * keyVectors}>;`, `var<workgroup> partial: array<vec4<f32>, ${threads}>;`, most.declarations, total.declarations].join("\n"),
    body: `
let batch = unit / ${kvHeads * parts};
let kvHead = unit / ${parts} % ${kvHeads};
let start = unit % ${parts} * ${span};
${bounds(pass, plan)}
let upper = ${causal ? `min(filled, offset + ${tq})` : "filled"};
let count = clamp(upper - start, 0, ${span});
${parts === 1 ? "" : "if (count == 0) { return; }"}
for (var i = thread; i < ${rows * keyVectors}; i += ${threads}) {
let r = i / ${keyVectors};
queries[i] = ${q}(batch, kvHead * ${plan.heads / kvHeads} + r / ${tq}, r % ${tq}, i % ${keyVectors});
}
workgroupBarrier();
for (var base = 0; base < count; base += ${keys * sweeps}) {
${each(sweeps, (i) => `let j${i} = base + ${i * keys} + thread / ${across};\nlet near${i} = start + min(j${i}, count - 1);`).join("\n")}
${pairs.map(({ r, i }) => `var s${r}_${i} = 0f;`).join(" ")}
for (var c = thread % ${across}; c < ${keyVectors}; c += ${across}) {
${each(sweeps, (i) => `let key${i} = ${k}(batch, kvHead, near${i}, c);`).join("\n")}
${each(rows, (r) => `let query${r} = queries[${r * keyVectors} + c];`).join("\n")}
${pairs.map(({ r, i }) => `s${r}_${i} += dot(key${i}, query${r});`).join("\n")}
}
${shuffles}
${each(sweeps, (i) => `if (thread % ${across} == 0 && j${i} < count) {\n${score(i)}\n}`).join("\n")}
}
workgroupBarrier();
${each(rows, (r) => `var most${r} = ${lowest};`).join("\n")}
for (var j = thread; j < count; j += ${threads}) {
${each(rows, (r) => `most${r} = max(most${r}, scores[${r * span} + j]);`).join("\n")}
}
${most.text}
${each(rows, (r) => `var total${r} = 0f;`).join("\n")}
for (var j = thread; j < ${span}; j += ${threads}) {
${each(rows, (r) => `{ let p = select(0f, ${exp}(scores[${r * span} + j] - most${r}), j < count); scores[${r * span} + j] = p; total${r} += p; }`).join("\n")}
}
${total.text}
workgroupBarrier();
let column = thread % ${valueVectors};
let slice = thread / ${valueVectors};
${each(rows, (r) => `var o${r} = vec4<f32>();`).join("\n")}
if (slice < ${deep}) {
for (var j = slice; j < count; j += ${deep * ahead}) {
${each(ahead, (i) => `let value${i} = ${i === 0 ? `${v}(batch, kvHead, start + j, column)` : `select(vec4<f32>(), ${v}(batch, kvHead, start + min(j + ${i * deep}, count - 1), column), j + ${i * deep} < count)`};`).join("\n")}
${each(rows, (r) => each(ahead, (i) => `o${r} += scores[${r * span} + j + ${i * deep}] * value${i};`).join("\n")).join("\n")}
}
}
${each(rows, (r) => `${deep === 1 ? "" : `partial[thread] = o${r};
for (var half = ${deep / 2}; half > 0; half = half / 2) {
workgroupBarrier();
if (slice < half) { partial[thread] += partial[thread + half * ${valueVectors}]; }
}
`}if (slice == 0) {
let sum = ${deep === 1 ? `o${r}` : "partial[thread]"};
${store(r)}
}
workgroupBarrier();`).join("\n")}`,
  }
}

/** Joins the spans of a row: each was taken relative to a maximum of its own. */
function joins(pass: PassHoles, plan: Plan, items: number): PassText {
  const { rows, span, parts, valueVectors, kvHeads, heads, tq, causal } = plan
  const { outputs, totals } = scratchOf(pass, plan), exp = pass.math("exp"), finish = pass.finish(4)
  return {
    body: `
let item = unit * ${threads} + thread;
if (item >= ${items}) { return; }
let column = item % ${valueVectors};
let r = item / ${valueVectors} % ${rows};
let head = item / ${valueVectors * rows};
${bounds(pass, plan)}
let used = ${`clamp((${causal ? `min(filled, offset + ${tq})` : "filled"} + ${span - 1}) / ${span}, 0, ${parts})`};
var most = ${lowest};
for (var p = 0; p < used; p++) { most = max(most, ${totals}[((head * ${parts} + p) * ${rows} + r) * 2]); }
var total = 0f;
var sum = vec4<f32>();
for (var p = 0; p < used; p++) {
let at = (head * ${parts} + p) * ${rows} + r;
let factor = ${exp}(${totals}[at * 2] - most);
total += factor * ${totals}[at * 2 + 1];
sum += factor * ${outputs}[at * ${valueVectors} + column];
}
${finish}(head / ${kvHeads}, head % ${kvHeads} * ${heads / kvHeads} + r / ${tq}, r % ${tq}, column, sum / total);`,
  }
}

/** A number as WGSL reads it. */
const number = (x: number): string => (x < 0 ? `(${Math.fround(x)}f)` : `${Math.fround(x)}f`)
