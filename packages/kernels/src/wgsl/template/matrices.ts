// Products on matrices of subgroups (tensor cores): halves are multiplied exactly, and summed in f32. Tiles of both operands go
// through workgroup memory; a number that needs more bits than a half has may lie there as several halves, its planes.
import { each } from "./each.ts"
import type { Features, PassHoles, PassText, SubgroupMatrix } from "./holes.ts"
import { alongTerms } from "./tile.ts"

/** Halves that are read at once. */
export const lanes = 8

/** A workgroup computes `rows` × `columns` results, a subgroup `high` × `wide` of them, through `depth` terms at a time. */
export interface MatrixTile { readonly rows: number; readonly columns: number; readonly depth: number; readonly high: number; readonly wide: number }
const tiles: readonly MatrixTile[] = [
  { rows: 128, columns: 128, depth: 32, high: 64, wide: 32 },
  { rows: 64, columns: 64, depth: 32, high: 32, wide: 32 },
  { rows: 32, columns: 32, depth: 32, high: 16, wide: 16 },
]
/** Steps through a tile's terms that are written out. Of a loop a card's driver makes more code, which takes long to fetch; software takes long to compile what is written out. */
const written = { card: 8, software: 2 }
/** Workgroups from which a large adapter is busy. */
const many = 96

/** Matrices that a subgroup multiplies, how many threads it has, and how many steps through a tile's terms are written out. */
export interface Matrices extends SubgroupMatrix { readonly subgroup: number; readonly written: number }

/** The largest matrices of halves, summed in f32, that tiles can be cut into. */
export function matricesOf({ half, matrices, subgroup, software }: Features): Matrices | undefined {
  if (!half || subgroup === undefined || subgroup.least !== subgroup.most) return undefined
  const divides = (size: number, of: keyof MatrixTile): boolean => tiles.every((t) => t[of] % size === 0)
  const fitting = matrices.filter((c) => c.component === "f16" && c.result === "f32" && divides(c.m, "high") && divides(c.n, "wide") && divides(c.k, "depth") && c.n % 4 === 0)
  const [largest] = fitting.toSorted((a, b) => b.m * b.n * b.k - a.m * a.n * a.k)
  return largest && { ...largest, subgroup: subgroup.least, written: written[software ? "software" : "card"] }
}

export const threadsOf = ({ rows, columns, high, wide }: MatrixTile, { subgroup }: Matrices): number => (rows / high) * (columns / wide) * subgroup
/** Vectors from one line of a tile to the next: one more than needed, so that banks differ. */
export const strideOf = (along: number): number => along / lanes + 1
const sharedOf = (tile: MatrixTile, kind: Matrices, planes: Planes): number =>
  16 * strideOf(tile.depth) * (planes.a * tile.rows + planes.b * tile.columns) + 4 * (threadsOf(tile, kind) / kind.subgroup) * kind.m * kind.n

/** Of matrices [batch, m, k] and [batch, k, n]. */
export interface MatmulSizes { readonly batch: number; readonly m: number; readonly k: number; readonly n: number }

/** How many halves stand for a number of each operand. */
export interface Planes { readonly a: number; readonly b: number }

/** The largest tile that leaves enough workgroups, if one fits the adapter. Operands that run along the other axis take less. */
export function matrixTile({ batch, m, n }: Pick<MatmulSizes, "batch" | "m" | "n">, features: Features, planes: Planes): { readonly tile: MatrixTile; readonly kind: Matrices; readonly units: number } | undefined {
  const kind = matricesOf(features)
  if (kind === undefined) return undefined
  const fitting = tiles.filter((t) => sharedOf(t, kind, planes) <= features.sharedBytes && threadsOf(t, kind) <= features.threads)
  const units = (t: MatrixTile): number => batch * Math.ceil(m / t.rows) * Math.ceil(n / t.columns)
  const tile = fitting.find((t) => units(t) >= many) ?? fitting.at(-1)
  return tile && { tile, kind, units: units(tile) }
}

/** An axis of an operand's tile: its length there and in all, and where the tile begins. */
interface Axis { readonly tile: number; readonly size: number; readonly start: string }

/** How vectors of eight neighbours come to workgroup memory: `v` begins the names of what a thread holds meanwhile. */
export interface Vectors {
  /** Declares what is held, and what is known from the start of the line that a thread brings. */
  hold(v: string, line: string): string
  /** Reads vector `at` of `line` into it; or nothing, past the ends. */
  read(v: string, line: string, at: string): string
  clear(v: string): string
  /** The values of its planes, as vec4<u32>, and statements before them; `inside`: when it is not past the end of its line, if that may be. */
  planes(v: string, line: string, at: string, inside?: string): { readonly before?: string; readonly values: readonly string[] }
}

interface Staged {
  readonly axis: 1 | 2
  readonly name: string
  readonly vectors: number
  readonly stride: number
  readonly planes: number
  /** Vector at which a matrix begins. */
  place(first: string, second: string): string
  readonly setup: string
  readonly load: string
  readonly store: string
}

/** Brings a tile to workgroup memory in lines along the axis that memory runs along. */
function stage({ name, axis, threads, first, second, vectors, planes }: { readonly name: string; readonly axis: 1 | 2; readonly threads: number; readonly first: Axis; readonly second: Axis; readonly vectors: Vectors; readonly planes: number }): Staged {
  const [along, lines] = axis === 2 ? [second, first] : [first, second]
  const perLine = along.tile / lanes, stride = strideOf(along.tile), count = (perLine * lines.tile) / threads
  const setup: string[] = [], load: string[] = [], store: string[] = []
  for (let e = 0; e < count; e++) {
    const v = `${name}_${e}`
    setup.push(`let ${v}_at = (thread + ${e * threads}) % ${perLine};`, `let ${v}_line = (thread + ${e * threads}) / ${perLine};`, vectors.hold(v, `${lines.start} + ${v}_line`))
    const at = `${along.start} / ${lanes} + ${v}_at`, line = `${lines.start} + ${v}_line`
    const within = along.size % along.tile === 0 ? undefined : `${at} < ${along.size / lanes}`
    const inside = [...(within === undefined ? [] : [within]), ...(lines.size % lines.tile === 0 ? [] : [`${line} < ${lines.size}`])]
    const value = vectors.read(v, line, at), { before = "", values } = vectors.planes(v, line, at, within)
    load.push(inside.length === 0 ? value : `if (${inside.join(" && ")}) { ${value} } else { ${vectors.clear(v)} }`)
    store.push(`{ ${before} ${values.map((value, p) => `${name}${p}[${v}_line * ${stride} + ${v}_at] = ${value};`).join(" ")} }`)
  }
  return {
    axis, name, stride, planes, vectors: stride * lines.tile, setup: setup.join("\n"), load: load.join("\n"), store: store.join("\n"),
    place: (i, j) => { const [a, l] = axis === 2 ? [j, i] : [i, j]; return `(${l}) * ${stride} + (${a}) / ${lanes}` },
  }
}

/** An operand: the axis that memory runs along (of [m, k] or [k, n]), and its vectors. */
export interface MatrixOperand { readonly axis: 1 | 2; readonly vectors: Vectors }

export interface MatrixProduct {
  readonly sizes: MatmulSizes
  readonly tile: MatrixTile
  readonly kind: Matrices
  readonly a: MatrixOperand
  readonly b: MatrixOperand
  readonly planes: Planes
  /** Which planes of a are multiplied by which of b. */
  readonly pairs: readonly (readonly [number, number])[]
  /** Stores four neighbours of a row of the result, `group` counting fours. */
  put(row: string, group: string, value: string): string
  readonly declarations?: string
}

/** result[b, i, j] = Σ_l a[b, i, l] · b[b, l, j], a workgroup computing a tile of it; `batch` names the number of its matrix. */
export function writeMatrixProduct(pass: PassHoles, { sizes: { m, k, n }, tile, kind, a, b, planes, pairs, put, declarations = "" }: MatrixProduct): PassText {
  for (const extension of ["f16", "subgroups", "chromium_experimental_subgroup_matrix"] as const) pass.enable(extension)
  const { rows, columns, depth, high, wide } = tile, threads = threadsOf(tile, kind), { subgroup } = kind, cells = kind.m * kind.n
  const down = Math.ceil(m / rows), across = Math.ceil(n / columns), subgroupsAcross = columns / wide
  const left = stage({ name: "left", ...a, threads, planes: planes.a, first: { tile: rows, size: m, start: "row0" }, second: { tile: depth, size: k, start: "start" } })
  const right = stage({ name: "right", ...b, threads, planes: planes.b, first: { tile: depth, size: k, start: "start" }, second: { tile: columns, size: n, start: "column0" } })
  const fragments = { down: high / kind.m, across: wide / kind.n }
  const load = (side: Staged, plane: number, use: string, firstAt: string, secondAt: string): string =>
    `subgroupMatrixLoad<subgroup_matrix_${use}, ${side.axis === 2 ? "row_major" : "col_major"}>(&${side.name}${plane}, u32(${side.place(firstAt, secondAt)}), ${side.stride}u)`
  // Of the left side few matrices are held at a time: threads have registers for what is on its way, too.
  const step = (at: string): string => [
    ...each(fragments.across, (j) => each(planes.b, (p) => `let b${p}_${j} = ${load(right, p, `right<f16, ${kind.n}, ${kind.k}>`, at, `wide0 + ${j * kind.n}`)};`)).flat(),
    ...each(fragments.down, (i) => each(planes.a, (p) => [
      `{ let a = ${load(left, p, `left<f16, ${kind.k}, ${kind.m}>`, `high0 + ${i * kind.m}`, at)};`,
      ...pairs.filter(([own]) => own === p).flatMap(([, other]) => each(fragments.across, (j) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(a, b${other}_${j}, c${i}_${j});`)),
      "}",
    ])).flat(2),
  ].join("\n")
  const steps = depth / kind.k
  const multiply = steps <= kind.written ? each(steps, (q) => `{\n${step(String(q * kind.k))}\n}`).join("\n") : `for (var q = 0; q < ${depth}; q += ${kind.k}) {\n${step("q")}\n}`
  // Results go through memory to where the epilogue can see them, a matrix per subgroup at a time.
  const store = each(fragments.down, (i) => each(fragments.across, (j) => `
subgroupMatrixStore<row_major>(&results, u32(own * ${cells}), c${i}_${j}, ${kind.n}u);
workgroupBarrier();
for (var v = thread % ${subgroup}; v < ${cells / 4}; v += ${subgroup}) {
let row = row0 + high0 + ${i * kind.m} + v / ${kind.n / 4};
let group = (column0 + wide0) / 4 + ${(j * kind.n) / 4} + v % ${kind.n / 4};
let at = own * ${cells} + v * 4;
if (row < ${m} && group < ${Math.ceil(n / 4)}) { ${put("row", "group", "vec4<f32>(results[at], results[at + 1], results[at + 2], results[at + 3])")} }
}
workgroupBarrier();`)).flat().join("\n")
  return {
    declarations: `
${[left, right].flatMap((side) => each(side.planes, (p) => `var<workgroup> ${side.name}${p}: array<vec4<u32>, ${side.vectors}>;`)).join("\n")}
var<workgroup> results: array<f32, ${(threads / subgroup) * cells}>;
${declarations}`,
    body: `
let batch = unit / ${down * across};
let row0 = unit / ${across} % ${down} * ${rows};
let column0 = unit % ${across} * ${columns};
let own = thread / ${subgroup};
let high0 = own / ${subgroupsAcross} * ${high};
let wide0 = own % ${subgroupsAcross} * ${wide};
${each(fragments.down, (i) => each(fragments.across, (j) => `var c${i}_${j} = subgroup_matrix_result<f32, ${kind.n}, ${kind.m}>();`)).flat().join("\n")}
${left.setup}
${right.setup}
${alongTerms({ last: k, depth, operands: [left, right], multiply })}
${store}`,
  }
}
