// The product of f16 matrices on matrices of subgroups (tensor cores): exact products, summed in f32.
import { hasHalves } from "../halves.ts"
import type { Features, Holes, Operand, Pass, PassHoles, PassText } from "./holes.ts"
import { alongTerms } from "./tile.ts"

/** Edge of the matrices, on adapters that have this kind. */
export const edge = 16
const subgroup = 32
/** Halves that are read at once. */
const lanes = 8

/** A workgroup computes `rows` × `columns` results, a subgroup `high` × `wide` of them, through `depth` terms at a time. */
interface Tile { readonly rows: number; readonly columns: number; readonly depth: number; readonly high: number; readonly wide: number }
const tiles: readonly Tile[] = [
  { rows: 128, columns: 128, depth: 32, high: 64, wide: 32 },
  { rows: 64, columns: 64, depth: 32, high: 32, wide: 32 },
]
/** Workgroups from which a large adapter is busy. */
const many = 96

interface Sizes { readonly batch: number; readonly m: number; readonly k: number; readonly n: number }

export function hasMatrices({ half, matrices, subgroup: own, sharedBytes, threads }: Features): boolean {
  return half && own?.least === subgroup && own.most === subgroup && sharedBytes >= 32768 && threads >= 256 &&
    matrices.some((c) => c.m === edge && c.n === edge && c.k === edge && c.component === "f16" && c.result === "f32")
}

/** The passes, if the adapter and the operands are made for it. */
export function byMatrices({ dims, operands, features }: Holes): Pass[] | undefined {
  const { batch, m, n, k } = dims as unknown as Sizes, { a, b } = operands as Record<"a" | "b", Operand>
  if (!hasMatrices(features) || Math.min(m, n, k) < 2 * edge) return undefined
  const axes = { a: axisOf(a), b: axisOf(b) }
  if (!hasHalves(a, axes.a) || !hasHalves(b, axes.b)) return undefined
  const units = (t: Tile): number => batch * Math.ceil(m / t.rows) * Math.ceil(n / t.columns)
  const tile = tiles.find((t) => units(t) >= many) ?? tiles.at(-1)!
  return [{ units: units(tile), threads: [threadsOf(tile)], write: (pass) => product(pass, dims as unknown as Sizes, axes, tile) }]
}
const axisOf = ({ contiguous }: Operand): 1 | 2 => (contiguous === 1 ? 1 : 2)
const threadsOf = ({ rows, columns, high, wide }: Tile): number => (rows / high) * (columns / wide) * subgroup

function product(pass: PassHoles, { m, k, n }: Sizes, axes: { readonly a: 1 | 2; readonly b: 1 | 2 }, tile: Tile): PassText {
  for (const extension of ["f16", "subgroups", "chromium_experimental_subgroup_matrix"] as const) pass.enable(extension)
  const { rows, columns, depth, high, wide } = tile, threads = threadsOf(tile)
  const down = Math.ceil(m / rows), across = Math.ceil(n / columns), subgroupsAcross = columns / wide
  const each = <T>(count: number, of: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => of(i))
  const left = stage({ pass, name: "a", axis: axes.a, threads, first: { tile: rows, size: m, start: "row0" }, second: { tile: depth, size: k, start: "start" } })
  const right = stage({ pass, name: "b", axis: axes.b, threads, first: { tile: depth, size: k, start: "start" }, second: { tile: columns, size: n, start: "column0" } })
  const finish = pass.finish(4)
  const fragments = { down: high / edge, across: wide / edge }
  const load = (side: Staged, use: "left" | "right", firstAt: string, secondAt: string): string =>
    `subgroupMatrixLoad<subgroup_matrix_${use}<f16, ${edge}, ${edge}>, ${side.axis === 2 ? "row_major" : "col_major"}>(&${side.memory}, u32(${side.place(firstAt, secondAt)}), ${side.stride}u)`
  const multiply = each(depth / edge, (q) => [
    "{",
    ...each(fragments.down, (i) => `let a${i} = ${load(left, "left", `high0 + ${i * edge}`, String(q * edge))};`),
    ...each(fragments.across, (j) => [
      `let b${j} = ${load(right, "right", String(q * edge), `wide0 + ${j * edge}`)};`,
      ...each(fragments.down, (i) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, c${i}_${j});`),
    ].join("\n")),
    "}",
  ].join("\n")).join("\n")
  // Results go through memory to where the epilogue can see them, a matrix per subgroup at a time.
  const store = each(fragments.down, (i) => each(fragments.across, (j) => `
subgroupMatrixStore<row_major>(&results, u32(own * ${edge * edge}), c${i}_${j}, ${edge}u);
workgroupBarrier();
for (var v = thread % ${subgroup}; v < ${(edge * edge) / 4}; v += ${subgroup}) {
let row = row0 + high0 + ${i * edge} + v / ${edge / 4};
let group = (column0 + wide0) / 4 + ${(j * edge) / 4} + v % ${edge / 4};
let at = own * ${edge * edge} + v * 4;
if (row < ${m} && group < ${Math.ceil(n / 4)}) { ${finish}(batch, row, group, vec4<f32>(results[at], results[at + 1], results[at + 2], results[at + 3])); }
}
workgroupBarrier();`)).flat().join("\n")
  return {
    declarations: `
var<workgroup> left: array<vec4<u32>, ${left.vectors}>;
var<workgroup> right: array<vec4<u32>, ${right.vectors}>;
var<workgroup> results: array<f32, ${(threads / subgroup) * edge * edge}>;`,
    body: `
let batch = unit / ${down * across};
let row0 = unit / ${across} % ${down} * ${rows};
let column0 = unit % ${across} * ${columns};
let own = thread / ${subgroup};
let high0 = own / ${subgroupsAcross} * ${high};
let wide0 = own % ${subgroupsAcross} * ${wide};
${each(fragments.down, (i) => each(fragments.across, (j) => `var c${i}_${j} = subgroup_matrix_result<f32, ${edge}, ${edge}>();`)).flat().join("\n")}
${left.setup}
${right.setup}
${alongTerms({ last: k, depth, operands: [left, right], multiply })}
${store}`,
  }
}

/** An axis of an operand's tile: its length there and in all, and where the tile begins. */
interface Axis { readonly tile: number; readonly size: number; readonly start: string }
interface Staged {
  readonly axis: 1 | 2
  readonly memory: "left" | "right"
  readonly vectors: number
  /** Vectors from one line to the next. */
  readonly stride: number
  /** Vector at which a matrix begins. */
  place(first: string, second: string): string
  readonly setup: string
  readonly load: string
  readonly store: string
}

/** Brings a tile to workgroup memory in lines along the axis that memory runs along, a vector longer than needed so that banks differ. */
function stage({ pass, name, axis, threads, first, second }: { readonly pass: PassHoles; readonly name: "a" | "b"; readonly axis: 1 | 2; readonly threads: number; readonly first: Axis; readonly second: Axis }): Staged {
  const read = pass.halves(name, axis), memory = name === "a" ? "left" : "right"
  const [along, lines] = axis === 2 ? [second, first] : [first, second]
  const perLine = along.tile / lanes, stride = perLine + 1, count = (perLine * lines.tile) / threads
  const setup: string[] = [], load: string[] = [], store: string[] = []
  for (let e = 0; e < count; e++) {
    const v = `${name}_${e}`
    setup.push(`let ${v}_at = (thread + ${e * threads}) % ${perLine};`, `let ${v}_line = (thread + ${e * threads}) / ${perLine};`, `var ${v} = vec4<u32>();`)
    const at = `${along.start} / ${lanes} + ${v}_at`, line = `${lines.start} + ${v}_line`
    const inside = [...(along.size % along.tile === 0 ? [] : [`${at} < ${along.size / lanes}`]), ...(lines.size % lines.tile === 0 ? [] : [`${line} < ${lines.size}`])]
    const value = `${v} = ${read}(batch, ${axis === 2 ? `${line}, ${at}` : `${at}, ${line}`});`
    load.push(inside.length === 0 ? value : `if (${inside.join(" && ")}) { ${value} } else { ${v} = vec4<u32>(); }`)
    store.push(`${memory}[${v}_line * ${stride} + ${v}_at] = ${v};`)
  }
  return {
    axis, memory, stride, vectors: stride * lines.tile, setup: setup.join("\n"), load: load.join("\n"), store: store.join("\n"),
    place: (i, j) => { const [a, l] = axis === 2 ? [j, i] : [i, j]; return `(${l}) * ${stride} + (${a}) / ${lanes}` },
  }
}
