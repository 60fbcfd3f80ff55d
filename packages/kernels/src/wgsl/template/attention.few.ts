// Attention of few queries: reading the keys and values takes the time. Each workgroup takes a span of the keys of one key
// head and all queries that share it; a second pass joins the spans (Dao et al., "Flash-Decoding", 2023). Where there are many
// heads of few keys, a span is all of them, and there is nothing to join.
import { each } from "./each.ts"
import { fixedSubgroup, joinAcross, largest, sums } from "./join.ts"
import { lanesFor, quarters } from "./read.ts"
import type { Features, Holes, PassHoles, PassText, Template } from "./holes.ts"

export interface AttentionSizes {
  readonly batch: number; readonly heads: number; readonly kvHeads: number; readonly tq: number; readonly tk: number; readonly d: number; readonly dv: number
  readonly causal: number; readonly window: number; readonly scale: number; readonly qOffset: number
}

/** Queries that share keys up to which this form is taken. */
export const fewRows = 8
const threads = 128
/** Threads of a workgroup that only large adapters allow: there waiting for memory is what costs, and all that is needed is asked for at once. */
const largeThreads = 512
/** Keys that a workgroup of many threads reads in about the time that a second pass takes to start, queries that share them, and heads from which an adapter is busy. */
const alone = { keys: 1024, rows: 2, heads: 32, least: 256, most: 512 }

interface Plan extends AttentionSizes {
  /** Rows of a unit: head within the group · tq + query. */
  readonly rows: number
  readonly span: number
  readonly parts: number
  readonly large: boolean
  /** Threads of a workgroup that takes a span. */
  readonly threads: number
  /** Features of a key, and of a value, that are read at once, and vectors of so many. */
  readonly keyLanes: 4 | 8
  readonly valueLanes: 4 | 8
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
    const rows = rowsOf(sizes), large = features.threads >= largeThreads
    const units = (span: number): number => batch * kvHeads * Math.ceil(tk / span)
    const lone = Math.min(alone.most, 2 ** Math.floor(Math.log2(features.threads)))
    const whole = lone >= alone.least && tk <= alone.keys && rows <= alone.rows && batch * kvHeads >= alone.heads && rows * 4 * (alone.keys + sizes.d) + 16 * lone + 1024 <= features.sharedBytes
    const span = whole ? Math.ceil(tk / 64) * 64 : large ? ([64, 128].find((n) => units(n) <= 1024) ?? 256) : units(256) < 256 ? 128 : 256, parts = Math.ceil(tk / span)
    const keyLanes = Math.min(8, lanesFor(operands.k!, sizes.d)) as 4 | 8, valueLanes = Math.min(8, lanesFor(operands.v!, sizes.dv)) as 4 | 8
    const plan: Plan = { ...sizes, rows, span, parts, large, threads: whole ? lone : threads, keyLanes, valueLanes, keyVectors: Math.ceil(sizes.d / keyLanes), valueVectors: Math.ceil(sizes.dv / valueLanes), has: (name) => operands[name] !== undefined }
    const items = batch * kvHeads * rows * plan.valueVectors * (valueLanes / 4)
    return [
      { units: batch * kvHeads * parts, threads: [plan.threads] as const, write: (pass) => spans(pass, features, plan) },
      ...(parts === 1 ? [] : [{ units: Math.ceil(items / threads), threads: [threads] as const, write: (pass: PassHoles) => joins(pass, plan, items) }]),
    ]
  },
}

/** Below every finite number: where a maximum begins. */
const lowest = "-3.4028234663852886e38f"
/** Sums of values by span, row and quad of features; largest score and total of each. */
const scratchOf = (pass: PassHoles, { batch, kvHeads, parts, rows, valueVectors, valueLanes }: Plan): { outputs: string; totals: string } => ({
  outputs: pass.scratch("outputs", "vec4<f32>", batch * kvHeads * parts * rows * valueVectors * (valueLanes / 4)),
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
  const { rows, span, parts, large, threads, keyLanes, valueLanes, keyVectors, valueVectors, kvHeads, tq, causal, window, scale, has } = plan
  const q = pass.read("q", 4, 3), k = pass.read("k", keyLanes, 3), v = pass.read("v", valueLanes, 3), exp = pass.math("exp"), nothing = `${pass.math("special")}(0xff800000u)`
  // Neighbouring threads share a key, so that they read memory side by side; each asks for several keys before it needs one.
  const across = Math.min(8, fixedSubgroup(features, threads) ?? 1), keys = threads / across, sweeps = Math.max(1, Math.min(4, Math.floor(8 / rows), Math.floor(span / keys)))
  if (across > 1) pass.enable("subgroups")
  const pairs = each(rows, (r) => each(sweeps, (i) => ({ r, i }))).flat()
  const shuffles = each(Math.log2(across), (s) => pairs.map(({ r, i }) => `s${r}_${i} += subgroupShuffleXor(s${r}_${i}, ${1 << s}u);`).join(" ")).join("\n")
  const score = (i: number): string => each(rows, (r) => {
    const { head, query } = place(plan, r), key = `start + j${i}`
    const seen = [...(causal ? [`${key} <= ${query} + offset`] : []), ...(window > 0 ? [`${key} > ${query} + offset - ${window}`] : [])]
    const value = `s${r}_${i} * ${number(scale)}${has("mask") ? ` + ${pass.read("mask")}(batch, ${head}, ${query}, ${key})` : ""}`
    return `scores[${r * span} + j${i}] = ${seen.length === 0 ? value : `select(${nothing}, ${value}, ${seen.join(" && ")})`};`
  }).join("\n")
  const keyQuads = keyLanes / 4, queryVectors = keyVectors * keyQuads
  const ask = (c: string, name: string): string => each(sweeps, (i) => `let key${i}${name} = ${k}(batch, kvHead, near${i}, ${c});`).join("\n")
  const use = (c: string, name: string): string => each(keyQuads, (h) => [
    ...each(rows, (r) => `let query${r}${name}_${h} = queries[${r * queryVectors} + (${c}) * ${keyQuads} + ${h}];`),
    ...pairs.map(({ r, i }) => `s${r}_${i} += dot(${quarters(`key${i}${name}`, keyLanes)[h]!}, query${r}${name}_${h});`),
  ].join("\n")).join("\n")
  const rounds = keyVectors / across, straight = large && Number.isInteger(rounds) && rounds * keyQuads * sweeps <= 16
  const scored = straight
    ? [...each(rounds, (u) => ask(`thread % ${across} + ${u * across}`, `_${u}`)), ...each(rounds, (u) => use(`thread % ${across} + ${u * across}`, `_${u}`))].join("\n")
    : `for (var c = thread % ${across}; c < ${keyVectors}; c += ${across}) {\n${ask("c", "")}\n${use("c", "")}\n}`
  const most = joinAcross(pass, features, { variables: each(rows, (r) => `most${r}`), group: threads, threads, how: largest, name: "mostOf" })
  const total = joinAcross(pass, features, { variables: each(rows, (r) => `total${r}`), group: threads, threads, how: sums, name: "totalOf" })
  const slices = Math.max(1, Math.floor(threads / valueVectors)), quads = valueLanes / 4
  // Whole slices, so that halving works.
  const deep = 2 ** Math.floor(Math.log2(slices)), ahead = Math.max(1, Math.min((large ? 16 : 8) / quads, Math.floor(span / deep))), { outputs, totals } = parts > 1 ? scratchOf(pass, plan) : { outputs: "", totals: "" }
  const finish = parts === 1 ? pass.finish(4) : ""
  const store = (r: number, h: number): string => {
    const { head, query } = place(plan, r), quad = quads === 1 ? "column" : `column * ${quads} + ${h}`
    if (parts === 1) return `${finish}(batch, ${head}, ${query}, ${quad}, sum / total${r});`
    return `${outputs}[(unit * ${rows} + ${r}) * ${valueVectors * quads} + ${quad}] = sum;${h > 0 ? "" : `\nif (column == 0) { ${totals}[(unit * ${rows} + ${r}) * 2] = most${r}; ${totals}[(unit * ${rows} + ${r}) * 2 + 1] = total${r}; }`}`
  }
  const zero = valueLanes === 4 ? "vec4<f32>()" : `array<vec4<f32>, ${quads}>()`
  const value = (i: number): string => {
    if (i === 0) return `let value0 = ${v}(batch, kvHead, start + j, column);`
    const read = `${v}(batch, kvHead, start + min(j + ${i * deep}, count - 1), column)`
    return `var value${i} = ${read};\nif (j + ${i * deep} >= count) { value${i} = ${zero}; }`
  }
  return {
    declarations: [`var<workgroup> scores: array<f32, ${rows * span}>;`, `var<workgroup> queries: array<vec4<f32>, ${rows * queryVectors}>;`, `var<workgroup> partial: array<vec4<f32>, ${threads}>;`, most.declarations, total.declarations].join("\n"),
    body: `
let batch = unit / ${kvHeads * parts};
let kvHead = unit / ${parts} % ${kvHeads};
let start = unit % ${parts} * ${span};
${bounds(pass, plan)}
let upper = ${causal ? `min(filled, offset + ${tq})` : "filled"};
let count = clamp(upper - start, 0, ${span});
${parts === 1 ? "" : "if (count == 0) { return; }"}
for (var i = thread; i < ${rows * queryVectors}; i += ${threads}) {
let r = i / ${queryVectors};
queries[i] = ${q}(batch, kvHead * ${plan.heads / kvHeads} + r / ${tq}, r % ${tq}, i % ${queryVectors});
}
workgroupBarrier();
for (var base = 0; base < count; base += ${keys * sweeps}) {
${each(sweeps, (i) => `let j${i} = base + ${i * keys} + thread / ${across};\nlet near${i} = start + min(j${i}, count - 1);`).join("\n")}
${pairs.map(({ r, i }) => `var s${r}_${i} = 0f;`).join(" ")}
${scored}
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
${each(rows, (r) => each(quads, (h) => `var o${r}_${h} = vec4<f32>();`).join(" ")).join("\n")}
if (slice < ${deep}) {
for (var j = slice; j < count; j += ${deep * ahead}) {
${each(ahead, value).join("\n")}
${each(rows, (r) => each(ahead, (i) => `{ let p = scores[${r * span} + j + ${i * deep}]; ${quarters(`value${i}`, valueLanes).map((part, h) => `o${r}_${h} += p * ${part};`).join(" ")} }`).join("\n")).join("\n")}
}
}
${each(rows, (r) => each(quads, (h) => `${deep === 1 ? "" : `partial[thread] = o${r}_${h};
for (var half = ${deep / 2}; half > 0; half = half / 2) {
workgroupBarrier();
if (slice < half) { partial[thread] += partial[thread + half * ${valueVectors}]; }
}
`}if (slice == 0) {
let sum = ${deep === 1 ? `o${r}_${h}` : "partial[thread]"};
${store(r, h)}
}
workgroupBarrier();`).join("\n")).join("\n")}`,
  }
}

/** Joins the spans of a row: each was taken relative to a maximum of its own. */
function joins(pass: PassHoles, plan: Plan, items: number): PassText {
  const { rows, span, parts, large, valueVectors, valueLanes, kvHeads, heads, tq, causal } = plan
  const { outputs, totals } = scratchOf(pass, plan), exp = pass.math("exp"), finish = pass.finish(4), quads = valueVectors * (valueLanes / 4)
  // What several spans left is asked for at once.
  const ahead = Math.min(parts, large ? 16 : 4), each = (of: (i: number) => string): string => Array.from({ length: ahead }, (_, i) => of(i)).join("\n")
  const at = (i: number): string => `((head * ${parts} + min(p + ${i}, used - 1)) * ${rows} + r)`
  return {
    body: `
let item = unit * ${threads} + thread;
if (item >= ${items}) { return; }
let column = item % ${quads};
let r = item / ${quads} % ${rows};
let head = item / ${quads * rows};
${bounds(pass, plan)}
let used = clamp((${causal ? `min(filled, offset + ${tq})` : "filled"} + ${span - 1}) / ${span}, 0, ${parts});
var most = ${lowest};
for (var p = 0; p < used; p += ${ahead}) {
${each((i) => `let m${i} = ${totals}[${at(i)} * 2];`)}
${each((i) => `most = max(most, m${i});`)}
}
var total = 0f;
var sum = vec4<f32>();
for (var p = 0; p < used; p += ${ahead}) {
${each((i) => `let at${i} = ${at(i)};\nlet m${i} = ${totals}[at${i} * 2];\nlet t${i} = ${totals}[at${i} * 2 + 1];\nlet o${i} = ${outputs}[at${i} * ${quads} + column];`)}
${each((i) => `${i === 0 ? "" : `if (p + ${i} < used) `}{ let factor = ${exp}(m${i} - most); total += factor * t${i}; sum += factor * o${i}; }`)}
}
${finish}(head / ${kvHeads}, head % ${kvHeads} * ${heads / kvHeads} + r / ${tq}, r % ${tq}, column, sum / total);`,
  }
}

/** A number as WGSL reads it. */
const number = (x: number): string => (x < 0 ? `(${Math.fround(x)}f)` : `${Math.fround(x)}f`)
