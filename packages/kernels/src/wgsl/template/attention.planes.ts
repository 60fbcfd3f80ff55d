// What attention on matrices multiplies: queries, keys and values as halves. Those stored as f16 are taken as they are; a pass
// before splits the others into two halves each, queries and keys scaled by row, values by column, as `split.matrices` does.
import { hasHalves } from "../halves.ts"
import { bounds, type AttentionSizes } from "./attention.few.ts"
import { joinAcross, largest } from "./join.ts"
import { lanes } from "./matrices.ts"
import { splitting, stepping } from "./split.matrices.ts"
import type { Features, Operand, Pass, PassHoles, PassText } from "./holes.ts"

const threads = 256
/** Threads that split a query or a key. */
const perLine = 8

type Name = "q" | "k" | "v"
/** An operand [batch, heads, lines, length], of which a line is so many `vectors` of eight; where it is split: its first vector and step in scratch memory. */
interface Part { readonly name: Name; readonly heads: number; readonly lines: number; readonly vectors: number; readonly split: boolean; readonly first: number; readonly firstStep: number }

/** An operand as halves. */
export interface Halves {
  readonly planes: 1 | 2
  readonly vectors: number
  /** Vector `at` of a line, as vec4<u32>; `batch` is in scope. */
  vector(plane: number, head: string, line: string, at: string): string
  /** What a line, or of values a column, is to be multiplied by, if it was split. */
  step(head: string, index: string): string | undefined
}

/** Halves of each number of an operand. */
export type PlaneCounts = Readonly<Record<Name, 1 | 2>>
export interface AttentionPlanes {
  readonly counts: PlaneCounts
  /** Whether the adapter can split, and one binding shows all halves. */
  fits(features: Features): boolean
  read(pass: PassHoles, name: Name): Halves
  /** The pass that splits, if there is something to be split. */
  passes(features: Features): Pass[]
}

export function attentionPlanes(sizes: AttentionSizes, operands: Readonly<Record<string, Operand>>): AttentionPlanes {
  const { batch, heads, kvHeads, tq, tk, d, dv } = sizes
  let vectors = 0, steps = 0
  const part = (name: Name, own: number, lines: number, length: number): Part => {
    const made = { name, heads: own, lines, vectors: Math.ceil(length / lanes), split: !hasHalves(operands[name]!, 3), first: vectors, firstStep: steps }
    if (made.split) {
      vectors += 2 * batch * own * lines * made.vectors
      steps += batch * own * (name === "v" ? lanes * made.vectors : lines)
    }
    return made
  }
  const parts = { q: part("q", heads, tq, d), k: part("k", kvHeads, tk, d), v: part("v", kvHeads, tk, dv) }, split = Object.values(parts).filter((p) => p.split)
  const counts = { q: parts.q.split ? 2 : 1, k: parts.k.split ? 2 : 1, v: parts.v.split ? 2 : 1 } as const
  const read = (pass: PassHoles, name: Name): Halves => {
    const own = parts[name]
    if (!own.split) {
      const halves = pass.halves(name, 3)
      return { planes: 1, vectors: own.vectors, vector: (_plane, head, line, at) => `${halves}(batch, ${head}, ${line}, ${at})`, step: () => undefined }
    }
    const planes = pass.scratch("planes", "vec4<u32>", vectors), stepsOf = pass.scratch("steps", "f32", steps)
    return {
      planes: 2, vectors: own.vectors,
      vector: (plane, head, line, at) => `${planes}[${own.first} + (((batch * ${own.heads} + ${head}) * ${own.lines} + ${line}) * 2 + ${plane}) * ${own.vectors} + ${at}]`,
      step: (head, index) => `${stepsOf}[${own.firstStep} + (batch * ${own.heads} + ${head}) * ${name === "v" ? lanes * own.vectors : own.lines} + ${index}]`,
    }
  }
  const unitsOf = ({ name, heads: own, lines, vectors: perRow }: Part): number => (name === "v" ? batch * own * perRow : Math.ceil((batch * own * lines) / (threads / perLine)))
  const units = split.reduce((n, p) => n + unitsOf(p), 0)
  const write = (pass: PassHoles, features: Features): PassText => {
    const ofLine = joinAcross(pass, features, { variables: ["most"], group: perLine, threads, how: largest, name: "mostOfLine", type: "u32" })
    const ofColumn = joinAcross(pass, features, { variables: ["first", "second"], group: threads, threads, how: largest, name: "mostOfColumn", type: "vec4<u32>" })
    let begun = 0
    const blocks = split.map((p) => {
      const write = { pass, batch, part: p, halves: read(pass, p.name), begun }
      begun += unitsOf(p)
      return `if (unit < ${begun}) {\n${p.name === "v" ? splitColumns(write, ofColumn.text) : splitLines(write, ofLine.text)}\n}`
    })
    return {
      declarations: [splitting, stepping, splittingEight, ...(split.some((p) => p.name !== "v") ? [ofLine.declarations] : []), ...(parts.v.split ? [ofColumn.declarations] : [])].join("\n"),
      body: `${bounds(pass, { ...sizes, has: (operand) => operands[operand] !== undefined })}\n${blocks.join(" else ")}`,
    }
  }
  return {
    counts, read, fits: (features) => units === 0 || (threads <= features.threads && 16 * vectors <= features.bindingBytes),
    passes: (features) => (units === 0 ? [] : [{ units, threads: [threads], write: (pass) => write(pass, features) }]),
  }
}

interface Splitting { readonly pass: PassHoles; readonly batch: number; readonly part: Part; readonly halves: Halves; /** Units before. */ readonly begun: number }

/** Queries or keys, eight threads to each. */
function splitLines({ pass, batch, part: { name, heads, lines, vectors }, halves: { vector, step }, begun }: Splitting, joined: string): string {
  const read = pass.read(name, lanes, 3)
  return `
let every = min((unit - ${begun}) * ${threads / perLine} + thread / ${perLine}, ${batch * heads * lines - 1});
let batch = every / ${heads * lines};
let head = every / ${lines} % ${heads};
let line = every % ${lines};
let end = ${name === "k" ? `select(0, ${vectors}, line < filled)` : vectors};
var most = 0u;
for (var at = thread % ${perLine}; at < end; at += ${perLine}) {
let eight = ${read}(batch, head, line, at);
let bits = max(finiteBits(eight[0]), finiteBits(eight[1]));
most = max(most, max(max(bits.x, bits.y), max(bits.z, bits.w)));
}
${joined}
let step = stepOfMost(most);
let rate = vec4<f32>(rateOfStep(step));
if (thread % ${perLine} == 0) { ${step("head", "line")} = step; }
for (var at = thread % ${perLine}; at < end; at += ${perLine}) {
let halves = splitEight(${read}(batch, head, line, at), rate, rate);
${[0, 1].map((p) => `${vector(p, "head", "line", "at")} = halves[${p}];`).join("\n")}
}`
}

/** Eight columns of values, all threads along the keys. */
function splitColumns({ pass, part: { heads, vectors }, halves: { vector, step }, begun }: Splitting, joined: string): string {
  const read = pass.read("v", lanes, 3), four = (called: string, of: string): string => `vec4<f32>(${["x", "y", "z", "w"].map((c) => `${called}(${of}.${c})`).join(", ")})`
  return `
let every = (unit - ${begun}) / ${vectors};
let batch = every / ${heads};
let head = every % ${heads};
let at = (unit - ${begun}) % ${vectors};
var first = vec4<u32>();
var second = vec4<u32>();
for (var line = thread; line < filled; line += ${threads}) {
let eight = ${read}(batch, head, line, at);
first = max(first, finiteBits(eight[0]));
second = max(second, finiteBits(eight[1]));
}
${joined}
let firstStep = ${four("stepOfMost", "first")};
let secondStep = ${four("stepOfMost", "second")};
let firstRate = ${four("rateOfStep", "firstStep")};
let secondRate = ${four("rateOfStep", "secondStep")};
if (thread < ${lanes}) { ${step("head", `at * ${lanes} + thread`)} = select(firstStep[thread % 4], secondStep[thread % 4], thread >= 4); }
for (var line = thread; line < filled; line += ${threads}) {
let halves = splitEight(${read}(batch, head, line, at), firstRate, secondRate);
${[0, 1].map((p) => `${vector(p, "head", "line", "at")} = halves[${p}];`).join("\n")}
}`
}

/** The bits of a magnitude, 0 for what is not finite; two planes of eight numbers, NaN in the first for what is not finite. */
const splittingEight = `
fn finiteBits(x: vec4<f32>) -> vec4<u32> { let bits = bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu); return select(bits, vec4<u32>(), bits >= vec4<u32>(0x7f800000u)); }
fn splitTwo(x: vec2<f32>, rate: vec2<f32>) -> vec2<u32> {
let finite = (bitcast<vec2<u32>>(x) & vec2<u32>(0x7f800000u)) != vec2<u32>(0x7f800000u);
let kept = select(0u, 0xffffu, finite.x) | select(0u, 0xffff0000u, finite.y);
return (twoHalves(x * rate) & vec2<u32>(kept)) | vec2<u32>(0x7e007e00u & ~kept, 0u);
}
fn splitEight(x: array<vec4<f32>, 2>, first: vec4<f32>, second: vec4<f32>) -> array<vec4<u32>, 2> {
let a = splitTwo(x[0].xy, first.xy);
let b = splitTwo(x[0].zw, first.zw);
let c = splitTwo(x[1].xy, second.xy);
let d = splitTwo(x[1].zw, second.zw);
return array<vec4<u32>, 2>(vec4<u32>(a.x, b.x, c.x, d.x), vec4<u32>(a.y, b.y, c.y, d.y));
}`
