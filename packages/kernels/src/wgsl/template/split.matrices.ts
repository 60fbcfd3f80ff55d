// Products of numbers that need more bits than a half has, on matrices of subgroups: each lies there as two halves, of which
// the second is what the first leaves (as Ootomo and Yokota, 2022, arXiv:2203.03341, make products of f32). All products of
// them are summed but those of two second ones, 2⁻²² of the whole. Before, rows of the left and columns of the right operand
// are scaled by powers of two, so that halves hold them whatever their size; results are scaled back.
import { joinAcross, largest, mostOf } from "./join.ts"
import { lanes, matrixTile, threadsOf, writeMatrixProduct, type MatmulSizes } from "./matrices.ts"
import type { Ahead, Features, Pass, PassHoles, PassText } from "./holes.ts"

/** Threads of a workgroup that scales: all of them take a row of the left operand, `perColumn` a column of the right one. */
export const threads = 256
const perColumn = 32
/** Vectors of a row that a thread keeps; of longer rows it reads them again. */
const kept = 12

/** The left operand: its rows, those of all matrices in one order, as vectors of four. */
export interface Rows {
  /** Module scope. */
  readonly declarations?: string
  /** Vector `at` of `row` as it is read. */
  source(row: string, at: string): string
  /**
   * Statements that set `value`, a vec4<f32>, to what is multiplied of vector `x`, none of a row larger than the largest of its sources; all
   * threads of a workgroup get here, eight of them with neighbours.
   */
  value(x: string): string
}
/** The right operand: its columns, as vectors of eight along the terms; `batch` is in scope. */
export interface Columns {
  /** What is held of a vector until it is wanted; names begin with `v`. */
  readonly parts: readonly ColumnPart[]
  /** Statements that set `first` and `second` to its four and four, `taken` being the values of its parts. */
  eight(taken: readonly string[]): string
  /** How many numbers bound a column's magnitudes, and statements that set `bits` to those of number `i`, `mostOf` of vectors for one. */
  readonly bounds: number
  bound(column: string, i: string): string
}

export interface ColumnPart {
  readonly ahead: Ahead
  /** The coordinates at which it is read. */
  at(column: string, at: string): string
}

export interface Split {
  readonly sizes: MatmulSizes
  readonly features: Features
  /** How many halves stand for a number of the right operand; for one of the left there are two. */
  readonly right: 1 | 2
  rows(pass: PassHoles): Rows
  columns(pass: PassHoles): Columns
  /** Statements that set `exact` to a result of a row or a column that has something else than finite numbers; `batch` is in scope. */
  exceptional(pass: PassHoles): (row: string, column: string) => string
  finish(pass: PassHoles): (row: string, group: string, value: string) => string
}

/** Whether an adapter is made for it, and one binding shows both halves of the left operand. */
export const fitsSplit = (sizes: MatmulSizes, right: Split["right"], features: Features): boolean =>
  features.threads >= threads && sizes.k % lanes === 0 && 4 * sizes.batch * sizes.m * sizes.k <= features.bindingBytes && matrixTile(sizes, features, { a: 2, b: right }) !== undefined

/** Both passes, where {@link fitsSplit} says so. */
export function bySplitMatrices(split: Split): Pass[] {
  const { sizes, features } = split, { batch, m, k, n } = sizes, planes = { a: 2, b: split.right }, { tile, kind, units } = matrixTile(sizes, features, planes)!
  return [
    { units: batch * m + Math.ceil((batch * n) / (threads / perColumn)), threads: [threads], write: (pass) => writeScaling(pass, split) },
    {
      units, threads: [threadsOf(tile, kind)],
      write(pass) {
        const halves = pass.scratch("halves", "vec4<u32>", 2 * batch * m * (k / lanes)), steps = pass.scratch("steps", "f32", batch * (m + n))
        const right = split.columns(pass), finish = split.finish(pass), exceptional = split.exceptional(pass)
        const stepOf = (column: string): string => `${steps}[${batch * m} + batch * ${n} + min(${column}, ${n - 1})]`
        const plane = (p: number, line: string, at: string): string => `${halves}[((batch * ${m} + ${line}) * 2 + ${p}) * ${k / lanes} + ${at}]`
        const putScaled = `fn putScaled(batch: i32, row: i32, group: i32, sum: vec4<f32>) {
let step = ${steps}[batch * ${m} + row];
let others = vec4<f32>(${[0, 1, 2, 3].map((i) => stepOf(`group * 4 + ${i}`)).join(", ")});
var value = sum * step * others;
if (step == 0f || any(others == vec4<f32>())) {
for (var i = 0; i < 4; i++) {
let column = min(group * 4 + i, ${n - 1});
if (step == 0f || others[i] == 0f) { ${exceptional("row", "column")} value[i] = exact; }
}
}
${finish("row", "group", "value")}
}`
        return writeMatrixProduct(pass, {
          sizes, tile, kind, planes, pairs: split.right === 1 ? [[0, 0], [1, 0]] : [[0, 0], [0, 1], [1, 0]], declarations: `${splitting}\n${putScaled}`,
          a: {
            axis: 2,
            vectors: {
              hold: (v) => `var ${v}_0 = vec4<u32>(); var ${v}_1 = vec4<u32>();`,
              read: (v, line, at) => `${v}_0 = ${plane(0, line, at)}; ${v}_1 = ${plane(1, line, at)};`,
              clear: (v) => `${v}_0 = vec4<u32>(); ${v}_1 = vec4<u32>();`,
              planes: (v) => ({ values: [`${v}_0`, `${v}_1`] }),
            },
          },
          b: {
            axis: 1,
            vectors: {
              hold: (v, line) => `let ${v}_rate = rateOfStep(${stepOf(line)}); ${right.parts.map(({ ahead: { held } }, i) => `var ${v}_part${i} = ${held}();`).join(" ")}`,
              read: (v, line, at) => right.parts.map(({ ahead, at: place }, i) => `${v}_part${i} = ${ahead.ask}(${place(line, at)});`).join(" "),
              clear: () => "",
              planes: (v, line, at, inside) => ({
                before: `var a = vec4<f32>(); var b = vec4<f32>();
${inside === undefined ? "" : `if (${inside}) `}{ ${right.eight(right.parts.map(({ ahead, at: place }, i) => `${ahead.take}(${place(`min(${line}, ${n - 1})`, at)}, ${v}_part${i})`))} a = first * ${v}_rate; b = second * ${v}_rate; }
let pairs = array<vec2<u32>, 4>(twoHalves(a.xy), twoHalves(a.zw), twoHalves(b.xy), twoHalves(b.zw));`,
                values: ["x", "y"].slice(0, split.right).map((p) => `vec4<u32>(${[0, 1, 2, 3].map((i) => `pairs[${i}].${p}`).join(", ")})`),
              }),
            },
          },
          put: (row, group, value) => `putScaled(batch, ${row}, ${group}, ${value});`,
        })
      },
    },
  ]
}

/** A step of 0 marks what is not finite. Two halves of a number, packed: what f16 holds of it, and of the rest. The first is found by its bits: NVIDIA's compiler takes what it packs and unpacks for the same, and nothing is left. */
export const splitting = `
fn rateOfStep(step: f32) -> f32 { return select(bitcast<f32>(0x7f000000u - bitcast<u32>(step)), 0f, step == 0f); }
fn twoHalves(x: vec2<f32>) -> vec2<u32> {
let high = bitcast<vec2<f32>>((bitcast<vec2<u32>>(x) + vec2<u32>(0x1000u)) & vec2<u32>(0xffffe000u));
return vec2<u32>(pack2x16float(high), pack2x16float(x - high));
}`
/** The step 2^e of which the number with these bits, the largest, is 2¹³ to 2¹⁴: sums of its halves' products stay far from where f16 and f32 end. */
export const stepping = `${mostOf}
fn stepOfMost(most: u32) -> f32 { let exponent = most >> 23u; return select(bitcast<f32>((clamp(exponent, 20u, 254u) - 13u) << 23u), 0f, exponent == 255u); }`

/** Finds what rows and columns are scaled by, and splits rows. */
function writeScaling(pass: PassHoles, { sizes: { batch, m, k, n }, features, rows, columns }: Split): PassText {
  const stored = pass.scratch("halves", "u32", 8 * batch * m * (k / lanes)), steps = pass.scratch("steps", "f32", batch * (m + n))
  const left = rows(pass), right = columns(pass), fours = k / 4, perUnit = threads / perColumn
  const ofRow = joinAcross(pass, features, { variables: ["most"], group: threads, threads, how: largest, name: "mostOfRow", type: "u32" })
  const ofColumn = joinAcross(pass, features, { variables: ["most"], group: perColumn, threads, how: largest, name: "mostOfColumn", type: "u32" })
  const own = Math.ceil(fours / threads), keeps = own <= kept, mine = Array.from({ length: own }, (_, i) => i), at = (i: number): string => `min(thread + ${i * threads}, ${fours - 1})`
  const split = (x: string, g: string, count: string): string => `${left.value(x)}
let scaled = value * rate;
let pairs = array<vec2<u32>, 2>(twoHalves(scaled.xy), twoHalves(scaled.zw));
let at = row * ${8 * (k / lanes)} + (${g}) * 2;
if (${count} < ${fours}) {
${stored}[at] = pairs[0].x;
${stored}[at + 1] = pairs[1].x;
${stored}[at + ${k / 2}] = pairs[0].y;
${stored}[at + ${k / 2 + 1}] = pairs[1].y;
}`
  return {
    declarations: [splitting, stepping, left.declarations ?? "", ofRow.declarations, ofColumn.declarations].join("\n"),
    body: `
var most = 0u;
if (unit < ${batch * m}) {
let row = unit;
${keeps ? mine.map((i) => `let x${i} = ${left.source("row", at(i))};\nmost = max(most, mostOf(x${i}));`).join("\n") : `for (var g = thread; g < ${fours}; g += ${threads}) { most = max(most, mostOf(${left.source("row", "g")})); }`}
${ofRow.text}
let step = stepOfMost(most);
let rate = rateOfStep(step);
if (thread == 0) { ${steps}[row] = step; }
${keeps ? mine.map((i) => `{\n${split(`x${i}`, at(i), `thread + ${i * threads}`)}\n}`).join("\n") : `for (var begun = 0; begun < ${fours}; begun += ${threads}) {
let g = min(begun + thread, ${fours - 1});
${split(left.source("row", "g"), "g", "begun + thread")}
}`}
} else {
let every = min((unit - ${batch * m}) * ${perUnit} + thread / ${perColumn}, ${batch * n - 1});
let batch = every / ${n};
let column = every % ${n};
for (var i = thread % ${perColumn}; i < ${right.bounds}; i += ${perColumn}) { ${right.bound("column", "i")} most = max(most, bits); }
${ofColumn.text}
if (thread % ${perColumn} == 0) { ${steps}[${batch * m} + every] = stepOfMost(most); }
}`,
  }
}
