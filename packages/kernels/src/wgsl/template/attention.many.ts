// Attention of many queries: tiles of queries walk along the keys and keep a running softmax (Dao et al., 2022,
// arXiv:2205.14135), so that scores never leave the workgroup.
import { each } from "./each.ts"
import { rowsOf, type AttentionSizes } from "./attention.few.ts"
import { headOf, lowest, masking, reach } from "./attention.rows.ts"
import type { Holes, PassHoles, PassText, Template } from "./holes.ts"

/** Rows and keys of a tile. A thread computes four scores of four rows, and vectors of four rows of the result. */
const rows = 32, keys = 64
const threads = 128, wide = 16
/** Vectors of features that are multiplied at a time; keys lie a vector further apart, so that banks differ. */
const depth = 8, keyStride = depth + 1
/** Vectors of four of the memory that holds queries and keys, and then values. */
const staged = 1024
const scoreStride = keys / 4 + 1

export const attentionMany: Template = {
  accepts: (dims, { threads: most, sharedBytes }) => {
    const sizes = dims as unknown as AttentionSizes, { d, dv, tk, tq, batch, heads } = sizes
    return most >= threads && sharedBytes >= 32768 && [d, dv, tk, tq, batch, heads].every((n) => n > 0) && dv <= 256
  },
  passes({ dims, operands }: Holes) {
    const sizes = dims as unknown as AttentionSizes
    return [{ units: sizes.batch * sizes.kvHeads * Math.ceil(rowsOf(sizes) / rows), threads: [threads], write: (pass) => tiles(pass, sizes, (name) => operands[name] !== undefined) }]
  },
}

function tiles(pass: PassHoles, sizes: AttentionSizes, has: (operand: string) => boolean): PassText {
  const { kvHeads, tq, d, dv, scale } = sizes
  const all = rowsOf(sizes), across = Math.ceil(all / rows), keyVectors = Math.ceil(d / 4), valueVectors = Math.ceil(dv / 4)
  const q = pass.read("q", 4, 3), k = pass.read("k", 4, 3), v = pass.read("v", 4, 3), finish = pass.finish(4), exp = pass.math("exp")
  const nothing = `${pass.math("special")}(0xff800000u)`, { visible, masked } = masking(pass, sizes, has)
  const columns = Math.ceil(valueVectors / wide)
  // Keys whose values fit the memory at once.
  const valueKeys = Math.min(keys, 2 ** Math.floor(Math.log2(staged / valueVectors)))
  const head = (r: string): string => headOf(sizes, r)
  const load = (count: number, body: string): string => `for (var i = thread; i < ${count}; i += ${threads}) { ${body} }`
  const four = (of: (c: string) => string): string => `vec4<f32>(${["x", "y", "z", "w"].map(of).join(", ")})`
  const outputs = each(4, (i) => each(columns, (j) => `o${i}_${j}`)).flat()
  return {
    declarations: `var<workgroup> staged: array<vec4<f32>, ${staged}>;
var<workgroup> scores: array<vec4<f32>, ${rows * scoreStride}>;
var<workgroup> joined: array<f32, ${threads}>;
var<workgroup> factors: array<f32, ${rows}>;`,
    body: `
let batch = unit / ${kvHeads * across};
let kvHead = unit / ${across} % ${kvHeads};
let row0 = unit % ${across} * ${rows};
let r = row0 + thread / 4;
let query = r % ${tq};
let x = thread % ${wide};
let y = thread / ${wide};
${reach(pass, sizes, has, rows)}
${outputs.map((o) => `var ${o} = vec4<f32>();`).join(" ")}
var most = ${lowest};
var total = 0f;
for (var base = lower / ${keys} * ${keys}; base < upper; base += ${keys}) {
${each(4, (i) => `var s${i} = vec4<f32>();`).join(" ")}
for (var c = 0; c < ${keyVectors}; c += ${depth}) {
${load(rows * depth, `let r = row0 + i / ${depth}; let f = c + i % ${depth}; if (r < ${all} && f < ${keyVectors}) { staged[i] = ${q}(batch, ${head("r")}, r % ${tq}, f); } else { staged[i] = vec4<f32>(); }`)}
${load(keys * depth, `let key = base + i / ${depth}; let f = c + i % ${depth}; let at = ${rows * depth} + i / ${depth} * ${keyStride} + i % ${depth}; if (key < upper && f < ${keyVectors}) { staged[at] = ${k}(batch, kvHead, key, f); } else { staged[at] = vec4<f32>(); }`)}
workgroupBarrier();
for (var f = 0; f < ${depth}; f++) {
${each(4, (i) => `let q${i} = staged[(y * 4 + ${i}) * ${depth} + f];`).join("\n")}
${each(4, (j) => `let k${j} = staged[${rows * depth} + (x + ${j * wide}) * ${keyStride} + f];`).join("\n")}
${each(4, (i) => `s${i} += vec4<f32>(${each(4, (j) => `dot(q${i}, k${j})`).join(", ")});`).join("\n")}
}
workgroupBarrier();
}
${each(4, (i) => each(4, (j) => `scores[(y * 4 + ${i}) * ${scoreStride} + (x + ${j * wide}) / 4][(x + ${j * wide}) % 4] = s${i}[${j}];`).join(" ")).join("\n")}
workgroupBarrier();
var upmost = vec4<f32>(${lowest});
for (var c = 0; c < 4; c++) {
let at = thread / 4 * ${scoreStride} + thread % 4 * 4 + c;
let key = base + (thread % 4 * 4 + c) * 4;
let keys = vec4<i32>(key) + vec4<i32>(0, 1, 2, 3);
var score = scores[at] * ${Math.fround(scale)}f;
${masked}
score = select(vec4<f32>(${nothing}), score, ${visible});
scores[at] = score;
upmost = max(upmost, score);
}
joined[thread] = max(max(upmost.x, upmost.y), max(upmost.z, upmost.w));
workgroupBarrier();
let first = thread / 4 * 4;
let newMost = max(most, max(max(joined[first], joined[first + 1]), max(joined[first + 2], joined[first + 3])));
let factor = ${exp}(most - newMost);
most = newMost;
var part = vec4<f32>();
for (var c = 0; c < 4; c++) {
let at = thread / 4 * ${scoreStride} + thread % 4 * 4 + c;
let scored = scores[at] - most;
let p = ${four((e) => `${exp}(scored.${e})`)};
scores[at] = p;
part += p;
}
workgroupBarrier();
joined[thread] = part.x + part.y + part.z + part.w;
if (thread % 4 == 0) { factors[thread / 4] = factor; }
workgroupBarrier();
total = total * factor + (joined[first] + joined[first + 1] + joined[first + 2] + joined[first + 3]);
${each(4, (i) => `{ let factor = factors[y * 4 + ${i}]; ${each(columns, (j) => `o${i}_${j} *= factor;`).join(" ")} }`).join("\n")}
for (var part0 = 0; part0 < ${keys}; part0 += ${valueKeys}) {
${load(valueKeys * valueVectors, `let key = base + part0 + i / ${valueVectors}; if (key < upper) { staged[i] = ${v}(batch, kvHead, key, i % ${valueVectors}); } else { staged[i] = vec4<f32>(); }`)}
workgroupBarrier();
for (var g = 0; g < ${valueKeys / 4}; g++) {
${each(4, (i) => `let w${i} = scores[(y * 4 + ${i}) * ${scoreStride} + part0 / 4 + g];`).join("\n")}
${each(4, (e) => each(columns, (j) => `{ let value = staged[${columns * wide > valueVectors ? `min((g * 4 + ${e}) * ${valueVectors} + x + ${j * wide}, ${staged - 1})` : `(g * 4 + ${e}) * ${valueVectors} + x + ${j * wide}`}]; ${each(4, (i) => `o${i}_${j} += w${i}[${e}] * value;`).join(" ")} }`).join("\n")).join("\n")}
}
workgroupBarrier();
}
}
if (thread % 4 == 0) { factors[thread / 4] = total; }
workgroupBarrier();
${each(4, (i) => `{
let r = row0 + y * 4 + ${i};
let all = factors[y * 4 + ${i}];
${each(columns, (j) => `if (r < ${all} && x + ${j * wide} < ${valueVectors}) { ${finish}(batch, ${head("r")}, r % ${tq}, x + ${j * wide}, o${i}_${j} / all); }`).join("\n")}
}`).join("\n")}`,
  }
}
